//! Chat templates: from a conversation to the text that the model was trained to continue.
//!
//! A GGUF carries its template as Jinja source under `tokenizer.chat_template`.
//! [`ChatTemplate`] renders it as Hugging Face's `transformers` would, character for character;
//! [`Message`] is one message of the conversation.
//!
//! Not here: tokens (the tokenizer turns the rendered text into them), and keeping a conversation
//! (`Chat`).

mod clock;
mod engine;
mod json;
mod lazy;
mod message;
mod methods;
mod percent;
mod python;
mod reasoning;
mod remainder;
mod rewrite;

pub use clock::Timestamp;
pub use message::{Content, Message, Role, ToolCall};
pub use reasoning::{Piece, ReasoningMarkers, ReasoningSplitter};

use crate::error::{Error, Result};
use crate::gguf::Gguf;
use minijinja::{Environment, Value};
use serde_json::Map;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The key of a GGUF's chat template; named variants follow it after a dot.
const KEY: &str = "tokenizer.chat_template";

/// Deepest nesting of messages, tools and variables.
const DEPTH: usize = 100;

/// The special tokens that templates know, and the keys with their numbers.
const SPECIAL_TOKENS: [(&str, &str); 5] = [
    ("bos_token", "tokenizer.ggml.bos_token_id"),
    ("eos_token", "tokenizer.ggml.eos_token_id"),
    ("unk_token", "tokenizer.ggml.unknown_token_id"),
    ("sep_token", "tokenizer.ggml.seperator_token_id"), // the format's own spelling
    ("pad_token", "tokenizer.ggml.padding_token_id"),
];

/// What a rendering depends on besides the messages.
#[derive(Clone, Debug)]
pub struct RenderOptions {
    /// Whether the text ends with the beginning of an answer, for the model to go on from.
    pub add_generation_prompt: bool,
    /// The tools that the model may call, in the form of the OpenAI API:
    /// `{"type": "function", "function": {"name", "description", "parameters"}}`.
    pub tools: Vec<serde_json::Value>,
    /// Variables that the template knows, such as `enable_thinking` or `documents`. They take
    /// precedence over everything else.
    pub variables: Map<String, serde_json::Value>,
    /// The time that the template prints as the present (`strftime_now`); `None` is the system's,
    /// in UTC. `transformers` prints local time: a program that knows its time zone gives it here.
    /// The library does not look for one, because that takes the environment.
    pub now: Option<Timestamp>,
}

impl Default for RenderOptions {
    /// With the generation prompt, without tools and variables, at the system's time.
    fn default() -> RenderOptions {
        RenderOptions {
            add_generation_prompt: true,
            tools: Vec::new(),
            variables: Map::new(),
            now: None,
        }
    }
}

/// A parsed chat template. Cloning is cheap.
///
/// ```
/// use yareta::template::{ChatTemplate, Message, RenderOptions};
/// let source = "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}";
/// let template = ChatTemplate::new("example", source)?;
/// let text = template.render(&[Message::user("Hello!")], &RenderOptions::default())?;
/// assert_eq!(text, "[user] Hello!\n");
/// # Ok::<(), yareta::Error>(())
/// ```
#[derive(Clone)]
pub struct ChatTemplate(Arc<Parsed>);

struct Parsed {
    name: String,
    source: String,
    environment: Environment<'static>,
    special_tokens: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// Parses `source`. `name` is for error messages.
    ///
    /// # Errors
    /// [`Error::Template`] if the source is no template, or is longer than a mebibyte.
    pub fn new(name: impl Into<String>, source: impl Into<String>) -> Result<ChatTemplate> {
        let (name, source) = (name.into(), source.into());
        if source.len() > engine::SOURCE_LIMIT {
            return Err(Error::Template {
                template: name,
                reason: format!("{} bytes are too many", source.len()),
            });
        }
        match engine::with_stack(|| engine::environment(&source)).ok_or_else(no_thread)? {
            Ok(environment) => Ok(ChatTemplate(Arc::new(Parsed {
                name,
                source,
                environment,
                special_tokens: BTreeMap::new(),
            }))),
            Err(error) => Err(Error::Template {
                template: name,
                reason: engine::describe(&error),
            }),
        }
    }

    /// The file's default template with the file's special tokens; `None` if the file has none.
    ///
    /// # Errors
    /// [`Error::Template`] if the file's template is none, [`Error::KeyType`] if it is no string.
    pub fn from_gguf(gguf: &Gguf) -> Result<Option<ChatTemplate>> {
        match Self::parse_key(gguf, KEY)? {
            Some(template) => Ok(Some(template)),
            None => Self::variant(gguf, "default"),
        }
    }

    /// The file's template for a purpose, such as `tool_use` or `rag`; `None` if it has none.
    ///
    /// # Errors
    /// As for [`from_gguf`](ChatTemplate::from_gguf).
    pub fn variant(gguf: &Gguf, name: &str) -> Result<Option<ChatTemplate>> {
        Self::parse_key(gguf, &format!("{KEY}.{name}"))
    }

    /// Names of the file's templates for a purpose, in file order.
    pub fn variants(gguf: &Gguf) -> Vec<String> {
        let keys = gguf.metadata().iter().map(|(key, _)| key);
        keys.filter_map(|key| key.strip_prefix(KEY)?.strip_prefix('.'))
            .map(str::to_owned)
            .collect()
    }

    /// The same template with other strings for its special tokens, by the names that templates
    /// use: `bos_token`, `eos_token`, …
    #[must_use]
    pub fn with_special_tokens<N: Into<String>, T: Into<String>>(
        &self,
        tokens: impl IntoIterator<Item = (N, T)>,
    ) -> ChatTemplate {
        let mut special_tokens = self.0.special_tokens.clone();
        special_tokens.extend(
            tokens
                .into_iter()
                .map(|(name, token)| (name.into(), token.into())),
        );
        ChatTemplate(Arc::new(Parsed {
            name: self.0.name.clone(),
            source: self.0.source.clone(),
            environment: self.0.environment.clone(),
            special_tokens,
        }))
    }

    /// The template's name: its key, where it came from a file.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The template's Jinja source.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// How the template marks reasoning; `None` if it does not.
    pub fn reasoning_markers(&self) -> Option<ReasoningMarkers> {
        ReasoningMarkers::detect(&self.0.source)
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// [`Error::Template`] with the template's own words if it refuses the conversation, and with
    /// the engine's if it cannot be rendered or does too much work.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String> {
        let messages: Vec<serde_json::Value> = messages.iter().map(Message::to_json).collect();
        self.render_json(&messages, options)
    }

    /// Renders a conversation given as JSON, each message an object as in the OpenAI API. The
    /// template sees every field as it is.
    ///
    /// # Errors
    /// As for [`render`](ChatTemplate::render), and [`Error::Template`] for a message that is no
    /// object, or values nested more than a hundred deep.
    pub fn render_json(
        &self,
        messages: &[serde_json::Value],
        options: &RenderOptions,
    ) -> Result<String> {
        let fail = |reason: String| Error::Template {
            template: self.0.name.clone(),
            reason,
        };
        if !messages.iter().all(serde_json::Value::is_object) {
            return Err(fail("a message is not an object".to_owned()));
        }
        let convert = |value: &serde_json::Value| {
            to_value(value, 0).ok_or_else(|| {
                fail(format!(
                    "the values given are nested more than {DEPTH} deep"
                ))
            })
        };
        let values = messages
            .iter()
            .map(|message| convert(&with_reasoning(message)))
            .collect::<Result<Vec<Value>>>()?;
        let tools = match options.tools.is_empty() {
            true => Value::from(()),
            false => options
                .tools
                .iter()
                .map(convert)
                .collect::<Result<Value>>()?,
        };
        let mut context: BTreeMap<&str, Value> = self
            .0
            .special_tokens
            .iter()
            .map(|(name, token)| (name.as_str(), Value::from(token.as_str())))
            .collect();
        context.insert("messages", Value::from(values));
        context.insert("tools", tools);
        context.insert("documents", Value::from(()));
        context.insert(
            "add_generation_prompt",
            Value::from(options.add_generation_prompt),
        );
        for (name, value) in &options.variables {
            context.insert(name, convert(value)?);
        }
        if let Some(now) = options.now {
            context.insert(engine::NOW, Value::from(now.unix()));
        }
        let bytes = messages
            .iter()
            .fold(0usize, |sum, message| sum.saturating_add(size(message)));
        let mut environment = self.0.environment.clone();
        environment.set_fuel(Some(engine::fuel(bytes)));
        let render = || {
            let template = environment.get_template(engine::TEMPLATE)?;
            template.render(Value::from_pairs(context))
        };
        engine::with_stack(render)
            .ok_or_else(no_thread)?
            .map_err(|error| fail(engine::describe(&error)))
    }

    fn parse_key(gguf: &Gguf, key: &str) -> Result<Option<ChatTemplate>> {
        let metadata = gguf.metadata();
        let Some(source) = metadata.string(key)? else {
            return Ok(None);
        };
        let mut tokens = Vec::new();
        for (name, id_key) in SPECIAL_TOKENS {
            if let Some(id) = metadata.u32(id_key)?
                && let Some(mut texts) = metadata.strings("tokenizer.ggml.tokens")?
                && let Some(text) = texts.nth(id as usize)
            {
                tokens.push((name, text));
            }
        }
        Ok(Some(
            ChatTemplate::new(key, source)?.with_special_tokens(tokens),
        ))
    }
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ChatTemplate")
            .field("name", &self.0.name)
            .field("special_tokens", &self.0.special_tokens)
            .finish_non_exhaustive()
    }
}

fn no_thread() -> Error {
    Error::Memory {
        what: "a thread for the chat template",
        bytes: engine::STACK as u64,
    }
}

/// Gives a message's reasoning all the names that templates read it under: `reasoning_content` and
/// `thinking`, from whichever of these and `reasoning` is there.
fn with_reasoning(message: &serde_json::Value) -> serde_json::Value {
    let reasoning = ["reasoning_content", "thinking", "reasoning"]
        .into_iter()
        .find_map(|field| message.get(field).filter(|value| !value.is_null()));
    match (message.as_object(), reasoning) {
        (Some(object), Some(reasoning)) => {
            let mut named = Map::new();
            named.insert("thinking".to_owned(), reasoning.clone());
            named.extend(object.clone());
            named.insert("reasoning_content".to_owned(), reasoning.clone());
            serde_json::Value::Object(named)
        }
        _ => message.clone(),
    }
}

/// Bytes of the strings in a JSON value that is not nested too deeply.
fn size(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::String(text) => text.len(),
        serde_json::Value::Array(items) => items.iter().map(size).sum(),
        serde_json::Value::Object(fields) => fields.values().map(size).sum(),
        _ => 1,
    }
}

/// The engine's value of a JSON value, keys in order; `None` if it is nested too deeply.
fn to_value(value: &serde_json::Value, depth: usize) -> Option<Value> {
    if depth > DEPTH {
        return None;
    }
    Some(match value {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(value) => Value::from(*value),
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64()?),
        },
        serde_json::Value::Array(items) => items
            .iter()
            .map(|item| to_value(item, depth + 1))
            .collect::<Option<Vec<Value>>>()
            .map(Value::from)?,
        serde_json::Value::Object(fields) => {
            let pairs = fields
                .iter()
                .map(|(name, value)| Some((name.as_str(), to_value(value, depth + 1)?)))
                .collect::<Option<Vec<_>>>()?;
            Value::from_pairs(pairs)
        }
    })
}
