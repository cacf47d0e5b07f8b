//! A trie of byte strings, for encoders that look for every token at a place.

use super::Token;

/// Longest text that is entered. Tokens in use have at most a few hundred bytes; the bound keeps
/// the time for a text linear in its length whatever the vocabulary.
pub(super) const MAX_LENGTH: usize = 512;

/// Byte strings with their tokens.
pub(super) struct Trie {
    nodes: Vec<Node>,
    // Children of the root, by byte.
    roots: Box<[u32; 256]>,
}

/// Children are a list, sorted by nothing: a node has few, save near the root.
#[derive(Clone, Copy)]
struct Node {
    byte: u8,
    token: Token,
    child: u32,
    sibling: u32,
}

const NONE: u32 = u32::MAX;

impl Default for Trie {
    fn default() -> Trie {
        Trie {
            nodes: Vec::new(),
            roots: Box::new([NONE; 256]),
        }
    }
}

impl Trie {
    /// Enters a text; the first token of equal texts stays. Texts that are empty or longer than
    /// [`MAX_LENGTH`] are left out.
    pub fn insert(&mut self, text: &[u8], token: Token) {
        let Some((&first, rest)) = text.split_first() else {
            return;
        };
        if text.len() > MAX_LENGTH || self.nodes.len() > (NONE - 1024) as usize {
            return;
        }
        let mut node = self.roots[usize::from(first)];
        if node == NONE {
            node = self.push(first, NONE);
            self.roots[usize::from(first)] = node;
        }
        for &byte in rest {
            node = match self.child(node, byte) {
                Some(child) => child,
                None => {
                    let child = self.push(byte, self.nodes[node as usize].child);
                    self.nodes[node as usize].child = child;
                    child
                }
            };
        }
        let entry = &mut self.nodes[node as usize].token;
        if *entry == NONE {
            *entry = token;
        }
    }

    /// The tokens that the text begins with, shortest first, each with its length.
    pub fn prefixes<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (Token, usize)> + 'a {
        let mut node = NONE;
        let steps = text.iter().enumerate().map_while(move |(index, &byte)| {
            node = if index == 0 {
                self.roots[usize::from(byte)]
            } else {
                self.child(node, byte).unwrap_or(NONE)
            };
            (node != NONE).then(|| (self.nodes[node as usize].token, index + 1))
        });
        steps.filter(|&(token, _)| token != NONE)
    }

    fn child(&self, node: u32, byte: u8) -> Option<u32> {
        let mut child = self.nodes[node as usize].child;
        while child != NONE {
            let found = self.nodes[child as usize];
            if found.byte == byte {
                return Some(child);
            }
            child = found.sibling;
        }
        None
    }

    fn push(&mut self, byte: u8, sibling: u32) -> u32 {
        self.nodes.push(Node {
            byte,
            token: NONE,
            child: NONE,
            sibling,
        });
        (self.nodes.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_all_prefixes() {
        let mut trie = Trie::default();
        for (token, text) in ["a", "abc", "abd", "b", "abc", ""].iter().enumerate() {
            trie.insert(text.as_bytes(), token as Token);
        }
        let found = |text: &str| trie.prefixes(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(found("abcd"), [(0, 1), (1, 3)]);
        assert_eq!(found("abe"), [(0, 1)]);
        assert_eq!(found("ca"), []);
        assert_eq!(found(""), []);
    }
}
