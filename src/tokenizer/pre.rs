//! The table of pre-tokenizers: what each value of `tokenizer.ggml.pre` stands for.
//!
//! The patterns are those of the models' own tokenizer files. Where two names mean the same,
//! they share a row.
//!
//! llama.cpp's splitter knows no upper and lower case beyond ASCII and no marks in the patterns
//! of GPT-4o and its kin, and writes them more simply; here they are as the models have them. On
//! the 6,000 lines of `tests/data/tokenizer`, with the models' own `tokenizer.json` read by
//! `tokenizers`, every line has the same tokens here for GPT-4o, gpt-oss, Llama 3.1, DeepSeek V3
//! and Gemma 3, while llama.cpp differs in 503 lines for the first two and in none for the others.
//!
//! What a file does not say is not done: the tokenizers of Qwen and GPT-NeoX, among others, bring
//! text into the normal form C first, but a GGUF has no word of it, and no reader does it. In text
//! with decomposed letters the tokens differ from the model's own; normalize such text first.

use super::split::{Digits, Stage};
use super::unicode::{LETTER, MARK};
use super::words::{Before, Contractions, Words};

/// One row of the table.
#[derive(Debug)]
pub(super) struct Pre {
    /// The values of `tokenizer.ggml.pre` that it stands for.
    pub names: &'static [&'static str],
    /// How text is cut.
    pub stages: &'static [Stage],
    /// What else the value implies.
    pub traits: &'static [Trait],
}

/// What a pre-tokenizer's name implies besides its patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trait {
    /// A piece that is a token is that token, whatever the merges make of it.
    WholePieces,
    /// The model expects a beginning-of-sequence token unless the file says otherwise.
    BeginsSequence,
    /// Texts end with the separator token unless the file says otherwise.
    EndsWithSeparator,
    /// Symbols are characters with `▁` for the space, not bytes in the GPT-2 alphabet; what has
    /// no token falls back to `<0x..>` tokens.
    Characters,
    /// A beginning-of-sequence token must be added even where the file says not to: published
    /// files say so wrongly.
    AlwaysBegins,
    /// Pieces of line ends are looked up whole before anything is merged.
    WholeLineEnds,
    /// Symbols are characters, and white space only separates words: it has no token.
    DropsSpace,
}

/// The row of a name.
pub(super) fn find(name: &str) -> Option<&'static Pre> {
    TABLE.iter().find(|row| row.names.contains(&name))
}

/// Every row.
#[cfg(test)]
pub(super) fn all() -> &'static [Pre] {
    TABLE
}

/// The row of a file that names no pre-tokenizer, or one that nobody knows.
pub(super) fn fallback() -> &'static Pre {
    &TABLE[0]
}

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
const GPT2: Words = Words {
    contractions: Contractions::Lower,
    before: Before::Space,
    letters: LETTER,
    digits: usize::MAX,
    line_ends: false,
};

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|`
/// `\s*[\r\n]+|\s+(?!\S)|\s+`
const LLAMA3: Words = Words {
    contractions: Contractions::AnyCase,
    before: Before::Any,
    letters: LETTER,
    digits: 3,
    line_ends: true,
};

/// [`LLAMA3`] with each digit alone.
const QWEN2: Words = Words {
    digits: 1,
    ..LLAMA3
};

/// [`QWEN2`] with marks among the letters.
const QWEN35: Words = Words {
    letters: LETTER | MARK,
    ..QWEN2
};

/// A word with its capitals first, with or without lower case after them, and a contraction.
macro_rules! cased {
    ($contraction:literal, $rest:literal) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            $contraction,
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            $contraction,
            $rest
        )
    };
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)?`, ASCII only.
macro_rules! contraction {
    () => {
        "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?"
    };
}

const GPT4O: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    contraction!(),
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    contraction!(),
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
);

const YOUTU: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    contraction!(),
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    contraction!(),
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
);

const TEKKEN: &str = cased!("", r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+");

const KIMI_K2: &str = concat!(
    r"\p{Han}+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+",
    contraction!(),
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*",
    contraction!(),
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
);

/// ASCII punctuation before ASCII letters, letters with marks, punctuation, line ends.
const DEEPSEEK_V3: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+"
);

const SPARK: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]"
);

/// Letters of cased scripts, as DeepSeek LLM lists them.
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}",
    r"\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}",
    r"\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}",
    r"\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}",
    r"\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}",
    r"\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}",
    r"\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}",
    r"\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}",
    r"\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}",
    r"\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}",
    r"\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}",
    r"\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}",
    r"\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}",
    r"\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}",
    r"\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}",
    r"\x{1E900}-\x{1E943}]+"
);

/// East Asian scripts as DeepSeek lists them, a range that takes in much else. White space beyond
/// ASCII lies in it too, but counts as white space, as everywhere.
const DEEPSEEK_EAST_ASIAN: &str = r"[[一-龥ࠀ-一가-퟿]--\s]+";

/// ASCII and East Asian punctuation as DeepSeek LLM lists it, without the ideographic space.
const DEEPSEEK_PUNCTUATION: &str = r"\s?[!-/:-~！-／：-～‘-‟、。]+";

const SENTENCE_MARKS: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
const LINES: &str = r"[^\n]+|[\n]+";

/// The table. The first row is the fallback.
const TABLE: &[Pre] = &[
    Pre {
        names: &["default"],
        stages: &[
            Stage::Pattern(r"[\p{P}\$\+<=>\^~\|]+"),
            Stage::Words(GPT2),
            Stage::Pattern(r"\p{N}+"),
            Stage::Pattern(r"[0-9][0-9][0-9]"),
        ],
        traits: &[],
    },
    Pre {
        names: &[
            "llama3",
            "llama-v3",
            "llama-bpe",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        stages: &[Stage::Words(LLAMA3)],
        traits: &[Trait::WholePieces, Trait::BeginsSequence],
    },
    Pre {
        names: &["dbrx", "smaug-bpe"],
        stages: &[Stage::Words(LLAMA3)],
        traits: &[],
    },
    Pre {
        names: &["chatglm-bpe"],
        stages: &[Stage::Words(LLAMA3)],
        traits: &[],
    },
    Pre {
        names: &["glm4", "glm5"],
        stages: &[Stage::Words(LLAMA3)],
        traits: &[Trait::WholePieces],
    },
    Pre {
        names: &["jais-2"],
        stages: &[Stage::PatternThenSteps(
            concat!(
                "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]",
                r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
            ),
            &[512, 256, 128, 64, 32, 16, 8, 4],
        )],
        traits: &[],
    },
    Pre {
        names: &["deepseek-llm"],
        stages: &[
            Stage::Pattern(r"[\r\n]"),
            Stage::Pattern(DEEPSEEK_LETTERS),
            Stage::Pattern(DEEPSEEK_PUNCTUATION),
            Stage::SpaceAtEnd,
            Stage::Pattern(DEEPSEEK_EAST_ASIAN),
            Stage::Pattern(r"\p{N}+"),
        ],
        traits: &[],
    },
    Pre {
        names: &["deepseek-coder"],
        stages: &[
            Stage::Pattern(r"[\r\n]"),
            Stage::Pattern(r"\s?\p{L}+"),
            Stage::Pattern(r"\s?\p{P}+"),
            Stage::Pattern(DEEPSEEK_EAST_ASIAN),
            Stage::Pattern(r"\p{N}"),
        ],
        traits: &[],
    },
    Pre {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        stages: &[
            Stage::Pattern(r"\p{N}{1,3}"),
            Stage::Pattern("[一-龥぀-ゟ゠-ヿ]+"),
            Stage::PatternThenSpace(DEEPSEEK_V3),
        ],
        traits: &[],
    },
    Pre {
        names: &["spark2_5"],
        stages: &[
            Stage::Pattern(r"\p{N}{1,3}"),
            Stage::Pattern("[一-龥぀-ゟ゠-ヿ]+"),
            Stage::PatternThenSpace(SPARK),
            Stage::Pattern(r"\p{N}"),
        ],
        traits: &[],
    },
    Pre {
        names: &["youtu"],
        stages: &[
            Stage::Pattern("[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+"),
            Stage::PatternThenSpace(YOUTU),
        ],
        traits: &[Trait::WholePieces],
    },
    Pre {
        names: &["falcon"],
        stages: &[
            Stage::Pattern(r"[\p{P}\$\+<=>\^~\|`]+"),
            Stage::Words(GPT2),
            Stage::Pattern(r"[0-9][0-9][0-9]"),
        ],
        traits: &[],
    },
    Pre {
        names: &[
            "starcoder",
            "refact",
            "command-r",
            "smollm",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        stages: &[Stage::Pattern(r"\p{N}"), Stage::Words(GPT2)],
        traits: &[],
    },
    Pre {
        names: &[
            "gpt-2",
            "gpt2",
            "phi-2",
            "jina-es",
            "jina-de",
            "gigachat",
            "jina-v2-es",
            "jina-v2-de",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
        ],
        stages: &[Stage::Words(GPT2)],
        traits: &[],
    },
    Pre {
        names: &["jina-v1-en", "jina-v2-code", "roberta-bpe"],
        stages: &[Stage::Words(GPT2)],
        traits: &[Trait::EndsWithSeparator],
    },
    Pre {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "megrez",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "grok-2",
        ],
        stages: &[Stage::Words(QWEN2)],
        traits: &[],
    },
    Pre {
        names: &["qwen35"],
        stages: &[Stage::Words(QWEN35)],
        traits: &[],
    },
    Pre {
        names: &["ufakzeka"],
        stages: &[Stage::Words(Words {
            contractions: Contractions::None,
            ..QWEN2
        })],
        traits: &[],
    },
    Pre {
        names: &["laguna"],
        stages: &[Stage::Pattern(LINES), Stage::Words(QWEN2)],
        traits: &[],
    },
    Pre {
        names: &["minicpm5"],
        stages: &[
            Stage::Pattern(r"\p{N}{1,3}"),
            Stage::Words(Words {
                digits: usize::MAX,
                ..LLAMA3
            }),
        ],
        traits: &[Trait::WholePieces],
    },
    Pre {
        names: &["poro-chat", "bloom", "gpt3-finnish"],
        stages: &[Stage::Pattern(SENTENCE_MARKS)],
        traits: &[],
    },
    Pre {
        names: &["viking"],
        stages: &[Stage::Pattern(SENTENCE_MARKS), Stage::Pattern(r"\p{N}")],
        traits: &[],
    },
    Pre {
        names: &["tekken"],
        stages: &[Stage::PatternThenSpace(TEKKEN)],
        traits: &[Trait::WholePieces, Trait::BeginsSequence],
    },
    Pre {
        names: &["chameleon"],
        stages: &[
            Stage::Pattern("<sentinel:[0-9]+>"),
            Stage::Pattern("IMGIMG[A-I]{1,4}Z"),
            Stage::Pattern(r"[\t\n]|    |  "),
            Stage::Pattern(r"\p{N}"),
            Stage::Pattern(r"[\p{P}!-/:-@\[-`{-~]"),
            Stage::Words(GPT2),
        ],
        traits: &[Trait::BeginsSequence],
    },
    Pre {
        names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
        stages: &[Stage::PatternThenSpace(GPT4O)],
        traits: &[],
    },
    Pre {
        names: &["granite-embed-multi-97m"],
        stages: &[Stage::PatternThenSpace(GPT4O)],
        traits: &[Trait::WholePieces],
    },
    Pre {
        names: &["tiny_aya", "cohere2moe"],
        stages: &[
            Stage::DigitsFromRight(Digits::BeforeBoundary),
            Stage::PatternThenSpace(GPT4O),
        ],
        traits: &[],
    },
    Pre {
        names: &["kimi-k2"],
        stages: &[Stage::PatternThenSpace(KIMI_K2)],
        traits: &[],
    },
    Pre {
        names: &["superbpe"],
        stages: &[
            Stage::Pattern(r"\p{N}+"),
            Stage::DigitsFromRight(Digits::All),
        ],
        traits: &[],
    },
    Pre {
        names: &["bailingmoe", "bailingmoe2", "llada-moe"],
        stages: &[Stage::PatternThenSpace(concat!(
            "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])",
            r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]"
        ))],
        traits: &[],
    },
    Pre {
        names: &["seed-coder"],
        stages: &[Stage::PatternThenSpace(concat!(
            "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]",
            r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+"
        ))],
        traits: &[],
    },
    Pre {
        names: &["exaone-moe"],
        stages: &[Stage::PatternThenSpace(concat!(
            "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]",
            r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+",
            r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]"
        ))],
        traits: &[],
    },
    Pre {
        names: &["afmoe"],
        stages: &[
            Stage::DigitsFromRight(Digits::All),
            Stage::Pattern(concat!(
                r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{F900}-\x{FAFF}\x{3040}-\x{30FF}",
                r"\x{FF65}-\x{FF9F}\x{2F00}-\x{2FDF}\x{E40}-\x{EFF}\x{1780}-\x{17FF}",
                r"\x{1000}-\x{109F}\x{AA60}-\x{AA7F}\x{A9E0}-\x{A9FF}\x{AC00}-\x{D7AF}",
                r"\x{1100}-\x{11FF}]+"
            )),
            Stage::PatternThenSpace(DEEPSEEK_V3),
        ],
        traits: &[],
    },
    Pre {
        names: &["gemma4", "granite-embed-multi-311m"],
        stages: &[Stage::Pattern(LINES)],
        traits: &[Trait::Characters, Trait::AlwaysBegins, Trait::WholeLineEnds],
    },
    Pre {
        names: &["sarvam-moe"],
        stages: &[Stage::Pattern(LINES)],
        traits: &[Trait::Characters],
    },
    Pre {
        names: &["whitespace"],
        stages: &[],
        traits: &[Trait::Characters, Trait::DropsSpace],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What the published converters to GGUF write, and the older names that readers know.
    const WRITTEN: &str = "default llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 \
        lfm2 jina-v5-nano deepseek-llm deepseek-coder deepseek-v3 spark2_5 youtu falcon mpt \
        starcoder gpt-2 gpt2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum \
        mellum2 modern-bert jais jais-2 gemma4 granite-embed-multi-311m granite-embed-multi-97m \
        sarvam-moe jina-v1-en jina-v2-code roberta-bpe whitespace refact command-r qwen2 \
        deepseek-r1-qwen kormo f2llmv2 qwen35 stablelm2 olmo dbrx smaug-bpe poro-chat chatglm-bpe \
        glm4 glm5 viking tekken smollm codeshell bloom gpt3-finnish exaone exaone4 exaone-moe \
        chameleon minerva-7b megrez gpt-4o llama4 kanana2 talkie tiny_aya cohere2moe superbpe \
        trillion granite-docling bailingmoe bailingmoe2 llada-moe seed-coder hunyuan \
        hunyuan-dense hy_v4 joyai-llm kimi-k2 ufakzeka grok-2 afmoe laguna minimax-m2 solar-open \
        minicpm5";

    #[test]
    fn every_written_name_has_one_row() {
        for name in WRITTEN.split_whitespace() {
            let rows = TABLE.iter().filter(|row| row.names.contains(&name));
            assert_eq!(rows.count(), 1, "{name}");
        }
        let names: usize = TABLE.iter().map(|row| row.names.len()).sum();
        assert_eq!(names, WRITTEN.split_whitespace().count());
    }
}
