//! Tokens with a part to play: which key of the metadata or which well-known text names them.

use super::Token;

/// Tokens that the metadata or their texts give a part to play.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begins a sequence.
    pub bos: Option<Token>,
    /// Ends a sequence.
    pub eos: Option<Token>,
    /// Ends a turn.
    pub eot: Option<Token>,
    /// Ends a message within a turn.
    pub eom: Option<Token>,
    /// Stands for what the vocabulary cannot express.
    pub unknown: Option<Token>,
    /// Separates texts, for encoders.
    pub separator: Option<Token>,
    /// Fills up batches.
    pub padding: Option<Token>,
    /// Hides a word, for encoders.
    pub mask: Option<Token>,
    /// Fill in the middle: precedes the text before the gap.
    pub fim_prefix: Option<Token>,
    /// Fill in the middle: precedes the text after the gap.
    pub fim_suffix: Option<Token>,
    /// Fill in the middle: precedes the text to be generated.
    pub fim_middle: Option<Token>,
    /// Fill in the middle: padding.
    pub fim_padding: Option<Token>,
    /// Fill in the middle: precedes the name of a repository.
    pub fim_repository: Option<Token>,
    /// Fill in the middle: separates files.
    pub fim_separator: Option<Token>,
    /// Every token at which generation stops, ascending.
    pub end_of_generation: Vec<Token>,
}

/// One part: its field, the metadata keys that name it, the texts that tell it.
pub(super) struct Part {
    pub field: fn(&mut SpecialTokens) -> &mut Option<Token>,
    /// Keys, the current one first.
    pub keys: &'static [&'static str],
    /// Texts by which it is recognized where no key names it, best first.
    pub texts: &'static [&'static str],
}

/// The parts in the order in which the metadata is read.
pub(super) const PARTS: &[Part] = &[
    Part {
        field: |tokens| &mut tokens.bos,
        keys: &["tokenizer.ggml.bos_token_id"],
        texts: &[],
    },
    Part {
        field: |tokens| &mut tokens.eos,
        keys: &["tokenizer.ggml.eos_token_id"],
        texts: &[],
    },
    Part {
        field: |tokens| &mut tokens.eot,
        keys: &["tokenizer.ggml.eot_token_id"],
        texts: &[
            "<|eot_id|>",
            "<|im_end|>",
            "<|end|>",
            "<end_of_turn>",
            "<|endoftext|>",
            "<|end_of_text|>",
            "<EOT>",
            "_<EOT>",
            "[EOT]",
            "<｜end▁of▁sentence｜>",
            "<end_of_utterance>",
        ],
    },
    Part {
        field: |tokens| &mut tokens.eom,
        keys: &["tokenizer.ggml.eom_token_id"],
        texts: &["<|eom_id|>"],
    },
    Part {
        field: |tokens| &mut tokens.unknown,
        keys: &["tokenizer.ggml.unknown_token_id"],
        texts: &[],
    },
    Part {
        field: |tokens| &mut tokens.separator,
        // The misspelling is what files carry.
        keys: &["tokenizer.ggml.seperator_token_id"],
        texts: &[],
    },
    Part {
        field: |tokens| &mut tokens.padding,
        keys: &["tokenizer.ggml.padding_token_id"],
        texts: &[],
    },
    Part {
        field: |tokens| &mut tokens.mask,
        keys: &["tokenizer.ggml.mask_token_id"],
        texts: &[],
    },
    Part {
        field: |tokens| &mut tokens.fim_prefix,
        keys: &[
            "tokenizer.ggml.fim_pre_token_id",
            "tokenizer.ggml.prefix_token_id",
        ],
        texts: &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<｜fim▁begin｜>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
        ],
    },
    Part {
        field: |tokens| &mut tokens.fim_suffix,
        keys: &[
            "tokenizer.ggml.fim_suf_token_id",
            "tokenizer.ggml.suffix_token_id",
        ],
        texts: &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ],
    },
    Part {
        field: |tokens| &mut tokens.fim_middle,
        keys: &[
            "tokenizer.ggml.fim_mid_token_id",
            "tokenizer.ggml.middle_token_id",
        ],
        texts: &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
    },
    Part {
        field: |tokens| &mut tokens.fim_padding,
        keys: &["tokenizer.ggml.fim_pad_token_id"],
        texts: &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"],
    },
    Part {
        field: |tokens| &mut tokens.fim_repository,
        keys: &["tokenizer.ggml.fim_rep_token_id"],
        texts: &[
            "<|fim_repo|>",
            "<|repo_name|>",
            "<fim-repo>",
            "<REPO>",
            "<reponame>",
        ],
    },
    Part {
        field: |tokens| &mut tokens.fim_separator,
        keys: &["tokenizer.ggml.fim_sep_token_id"],
        texts: &["<|file_sep|>"],
    },
];

/// Texts of tokens that end generation whatever the metadata says.
pub(super) const ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Tokens of the harmony format that are part of the answer's text, though files call them
/// control tokens.
pub(super) const ALWAYS_SHOWN: &[&str] =
    &["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];
