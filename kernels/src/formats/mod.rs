//! One file per weight format: the bit diagram, the block and its verbs.
