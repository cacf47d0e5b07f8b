//! A conversation with a model, by the model's own chat template.
//!
//! [`Chat`] keeps the messages and a session. Before each answer the whole conversation is
//! rendered and tokenized, and of that only what the session has not seen yet is processed: the
//! common beginning stays in the cache. A template that changes earlier turns, such as one that
//! drops past reasoning, costs the tokens from the change on.
//!
//! Control tokens that users and tools write, such as `<|im_end|>`, are text and control nothing:
//! only the template and the instructions may write such tokens.
//!
//! Not here: the template language ([`template`](crate::template)), and choosing tokens
//! ([`Sampler`]).

use crate::template::{
    ChatTemplate, Content, Message, Piece, ReasoningMarkers, ReasoningSplitter, RenderOptions, Role,
};
use crate::tokenizer::{EncodeOptions, StopStrings, StreamDecoder, Tokenizer};
use crate::{Error, FeedOptions, Result, Sampler, Session, Token};
use std::collections::VecDeque;
use std::sync::OnceLock;

/// Is put into the texts of control tokens that nobody may write, while a prompt is rendered: the
/// last private character of Unicode, which belongs to no token.
const BREAK: char = '\u{10FFFD}';

/// A conversation: messages, and a session that has seen them.
///
/// ```no_run
/// let model = yareta::Model::open("model.gguf")?;
/// let mut chat = yareta::Chat::new(model.session()?)?;
/// chat.system("Answer briefly.");
/// let mut sampler = yareta::Sampler::new(42).temperature(0.7);
/// for piece in chat.send("What grows in the Andes?", &mut sampler) {
///     print!("{}", piece?);
/// }
/// # Ok::<(), yareta::Error>(())
/// ```
#[derive(Debug)]
pub struct Chat {
    session: Session,
    template: ChatTemplate,
    messages: Vec<Message>,
    options: RenderOptions,
    stops: StopStrings,
    limit: usize,
    /// The texts of the vocabulary's control tokens.
    controls: OnceLock<Vec<String>>,
}

impl Chat {
    /// A conversation by the template in the model's file. What the session has seen before is
    /// forgotten where the conversation differs from it.
    ///
    /// # Errors
    /// [`Error::MissingKey`] naming `tokenizer.chat_template` if the file has no template: give
    /// one with [`with_template`](Chat::with_template). [`Error::Template`] if it is none.
    pub fn new(session: Session) -> Result<Chat> {
        let template = ChatTemplate::from_gguf(session.model().gguf())?;
        let template = template.ok_or_else(|| Error::MissingKey {
            key: "tokenizer.chat_template".to_owned(),
        })?;
        Ok(Chat::with_template(session, template))
    }

    /// A conversation by another template than the file's.
    pub fn with_template(session: Session, template: ChatTemplate) -> Chat {
        Chat {
            session,
            template,
            messages: Vec::new(),
            options: RenderOptions::default(),
            stops: StopStrings::default(),
            limit: usize::MAX,
            controls: OnceLock::new(),
        }
    }

    /// Sets the instructions: the first message, if that is a system message, or a new first one.
    pub fn system(&mut self, text: impl Into<String>) -> &mut Chat {
        let message = Message::system(text.into());
        match self.messages.first_mut() {
            Some(first) if first.role == Role::System => *first = message,
            _ => self.messages.insert(0, message),
        }
        self
    }

    /// Ends answers before any of these strings.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for an empty string, or too many or too long ones.
    pub fn stop<S: Into<String>>(
        &mut self,
        strings: impl IntoIterator<Item = S>,
    ) -> Result<&mut Chat> {
        self.stops = StopStrings::new(strings)?;
        Ok(self)
    }

    /// Ends answers after so many tokens.
    pub fn max_tokens(&mut self, tokens: usize) -> &mut Chat {
        self.limit = tokens;
        self
    }

    /// What the rendering depends on: tools, variables such as `enable_thinking`, the time.
    pub fn options_mut(&mut self) -> &mut RenderOptions {
        &mut self.options
    }

    /// Appends a message without asking for an answer: a tool's result, or history.
    pub fn push(&mut self, message: Message) -> &mut Chat {
        self.messages.push(message);
        self
    }

    /// Says something and gives the answer in pieces, as they come. The prompt is processed when
    /// the first piece is asked for.
    ///
    /// An answer that is dropped before its end, or that an error ends, stays in the conversation
    /// as far as it came. If the prompt cannot be processed, the first piece is the error, and the
    /// message is taken out of the conversation again.
    ///
    /// The pieces' errors are those of [`reply_with`](Chat::reply_with) and [`Sampler::sample`];
    /// [`Error::ContextFull`] where the context ends before the answer.
    pub fn send<'a>(&'a mut self, text: impl Into<String>, sampler: &'a mut Sampler) -> Reply<'a> {
        self.messages.push(Message::user(text.into()));
        let state = State::Asked { undo: true };
        Reply::new(self, sampler, state)
    }

    /// As [`send`](Chat::send), but processes the prompt at once, watched.
    ///
    /// # Errors
    /// As [`reply_with`](Chat::reply_with). The message is then taken out of the conversation
    /// again.
    pub fn send_with<'a>(
        &'a mut self,
        text: impl Into<String>,
        sampler: &'a mut Sampler,
        options: FeedOptions<'_>,
    ) -> Result<Reply<'a>> {
        let mut reply = self.send(text, sampler);
        reply.begin(options)?;
        Ok(reply)
    }

    /// Gives an answer to the messages as they are, for instance after a tool's result.
    ///
    /// # Errors
    /// [`Error::Template`] if the template refuses the conversation, [`Error::ContextFull`] if it
    /// does not fit, [`Error::Cancelled`]. The conversation is unchanged.
    pub fn reply_with<'a>(
        &'a mut self,
        sampler: &'a mut Sampler,
        options: FeedOptions<'_>,
    ) -> Result<Reply<'a>> {
        let mut reply = Reply::new(self, sampler, State::Asked { undo: false });
        reply.begin(options)?;
        Ok(reply)
    }

    /// The conversation so far.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Replaces the conversation, for instance by a saved one.
    pub fn set_messages(&mut self, messages: Vec<Message>) {
        self.messages = messages;
    }

    /// Forgets the conversation but the instructions at its beginning. The session keeps what it
    /// can use again.
    pub fn reset(&mut self) {
        let kept = usize::from(
            self.messages
                .first()
                .is_some_and(|m| m.role == Role::System),
        );
        self.messages.truncate(kept);
    }

    /// The template.
    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// The session, with what it has seen.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Ends the conversation and gives the session back.
    pub fn into_session(self) -> Session {
        self.session
    }

    /// The conversation rendered, with the beginning of an answer. Where users and tools write
    /// control tokens, [`BREAK`] is in them.
    fn prompt(&self) -> Result<String> {
        let options = RenderOptions {
            add_generation_prompt: true,
            ..self.options.clone()
        };
        let controls = self
            .controls
            .get_or_init(|| controls(self.session.model().tokenizer()));
        let messages: Vec<Message> = self
            .messages
            .iter()
            .map(|message| broken(message, controls))
            .collect();
        self.template.render(&messages, &options)
    }

    /// The prompt's tokens. The template writes the control tokens itself; the
    /// beginning-of-sequence token is added where the vocabulary wants one and the template has
    /// none.
    fn encode(&self, prompt: &str) -> Result<Vec<Token>> {
        let options = EncodeOptions {
            add_special: false,
            parse_special: true,
        };
        let tokenizer = self.session.model().tokenizer();
        let mut tokens = Vec::new();
        for piece in prompt.split(BREAK) {
            tokens.extend(tokenizer.encode_with(piece, options)?);
        }
        if let Some(bos) = tokenizer.bos()
            && tokenizer.adds_bos()
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }

    /// Makes the session one that has seen exactly `tokens`, with their last logits; the number of
    /// tokens that it had seen already.
    fn catch_up(&mut self, tokens: &[Token], options: FeedOptions<'_>) -> Result<usize> {
        let limit = self.session.context();
        if tokens.len() > limit {
            return Err(Error::ContextFull {
                needed: tokens.len(),
                limit,
            });
        }
        let seen = self.session.tokens();
        let common = seen.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        if common == tokens.len() && seen.len() == common && self.session.logits().is_some() {
            return Ok(common);
        }
        // at least the last token is fed, for its logits
        let common = common.min(tokens.len().saturating_sub(1));
        self.session.truncate(common);
        self.session.feed_with(&tokens[common..], options)?;
        Ok(common)
    }
}

/// The texts of all control tokens.
fn controls(tokenizer: &Tokenizer) -> Vec<String> {
    (0..tokenizer.vocabulary_size() as Token)
        .filter(|&token| tokenizer.is_control(token))
        .filter_map(|token| String::from_utf8(tokenizer.token_text(token).ok()?.to_vec()).ok())
        .filter(|text| text.chars().count() > 1)
        .collect()
}

/// The message with [`BREAK`] after the first character of each control token in it, if a user or
/// a tool wrote it.
fn broken(message: &Message, controls: &[String]) -> Message {
    let mut message = message.clone();
    if message.role != Role::User && message.role != Role::Tool {
        return message;
    }
    match &mut message.content {
        Content::None => {}
        Content::Text(text) => break_text(text, controls),
        Content::Json(value) => break_json(value, controls),
    }
    message
}

fn break_json(value: &mut serde_json::Value, controls: &[String]) {
    match value {
        serde_json::Value::String(text) => break_text(text, controls),
        serde_json::Value::Array(items) => {
            items.iter_mut().for_each(|item| break_json(item, controls));
        }
        serde_json::Value::Object(fields) => {
            fields
                .values_mut()
                .for_each(|item| break_json(item, controls));
        }
        _ => {}
    }
}

fn break_text(text: &mut String, controls: &[String]) {
    for control in controls {
        if let Some(first) = control.chars().next()
            && text.contains(control.as_str())
        {
            let rest = &control[first.len_utf8()..];
            *text = text.replace(control.as_str(), &format!("{first}{BREAK}{rest}"));
        }
    }
}

/// An answer on its way: an iterator over its pieces, which end where the answer does. Dropping it
/// ends the answer there.
#[derive(Debug)]
pub struct Reply<'a> {
    chat: &'a mut Chat,
    sampler: &'a mut Sampler,
    state: State,
    decoder: StreamDecoder,
    stops: StopStrings,
    markers: Option<ReasoningMarkers>,
    splitter: ReasoningSplitter,
    /// The last token, which is fed when the next is wanted.
    last: Option<Token>,
    ready: VecDeque<Piece>,
    reasoning: String,
    answer: String,
    generated: usize,
}

/// Where an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its prompt is not processed; `undo` says that the last message goes if it cannot be.
    Asked { undo: bool },
    /// Tokens come.
    Running,
    /// Nothing more comes but what is ready.
    Done,
}

impl<'a> Reply<'a> {
    fn new(chat: &'a mut Chat, sampler: &'a mut Sampler, state: State) -> Reply<'a> {
        let markers = chat.template.reasoning_markers();
        Reply {
            decoder: chat.session.model().tokenizer().decoder(),
            stops: chat.stops.clone(),
            markers,
            splitter: ReasoningSplitter::new(markers, false),
            chat,
            sampler,
            state,
            last: None,
            ready: VecDeque::new(),
            reasoning: String::new(),
            answer: String::new(),
            generated: 0,
        }
    }

    /// Number of tokens that were generated, the one that ends the answer not counted.
    pub fn generated(&self) -> usize {
        self.generated
    }

    /// Processes the prompt.
    fn begin(&mut self, options: FeedOptions<'_>) -> Result<()> {
        let State::Asked { undo } = self.state else {
            return Ok(());
        };
        let result = self.chat.prompt().and_then(|prompt| {
            let tokens = self.chat.encode(&prompt)?;
            if tokens.is_empty() {
                return Err(Error::Template {
                    template: self.chat.template.name().to_owned(),
                    reason: "it renders this conversation as nothing".to_owned(),
                });
            }
            let seen = self.chat.catch_up(&tokens, options)?;
            tokens[seen..]
                .iter()
                .for_each(|token| self.sampler.accept(*token));
            Ok(prompt)
        });
        match result {
            Ok(prompt) => {
                let inside = self
                    .markers
                    .is_some_and(|markers| markers.left_open(&prompt));
                self.splitter = ReasoningSplitter::new(self.markers, inside);
                self.state = State::Running;
                Ok(())
            }
            Err(error) => {
                if undo {
                    self.chat.messages.pop();
                }
                self.state = State::Done;
                Err(error)
            }
        }
    }

    /// Generates a token and makes its text ready.
    fn step(&mut self) -> Result<()> {
        if self.generated >= self.chat.limit {
            self.end();
            return Ok(());
        }
        if let Some(token) = self.last.take() {
            self.chat.session.feed(&[token])?;
        }
        let token = self
            .sampler
            .sample(self.chat.session.logits().unwrap_or(&[]))?;
        self.sampler.accept(token);
        let tokenizer = self.chat.session.model().tokenizer();
        if tokenizer.is_end_of_generation(token) {
            self.end();
            return Ok(());
        }
        self.generated += 1;
        self.last = Some(token);
        let text = match tokenizer.is_control(token) {
            true => self.marker(token)?,
            false => self.decoder.push(token)?.to_owned(),
        };
        self.take(&text);
        if self.stops.found().is_some() {
            self.end();
        }
        Ok(())
    }

    /// The text of a control token, which has none of its own, where it marks reasoning.
    fn marker(&self, token: Token) -> Result<String> {
        let bytes = self.chat.session.model().tokenizer().token_bytes(token)?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(
            match self.markers.is_some_and(|markers| markers.contain(&text)) {
                true => text.into_owned(),
                false => String::new(),
            },
        )
    }

    /// Makes text ready.
    fn take(&mut self, text: &str) {
        let pieces = self.splitter.push(self.stops.push(text));
        self.keep(pieces);
    }

    fn keep(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            match &piece {
                Piece::Reasoning(text) => self.reasoning.push_str(text),
                Piece::Answer(text) => self.answer.push_str(text),
            }
            self.ready.push_back(piece);
        }
    }

    /// Ends the answer: makes ready what was held back, and puts it into the conversation.
    fn end(&mut self) {
        if self.state != State::Running {
            return;
        }
        self.state = State::Done;
        let last = self.decoder.finish().to_owned();
        self.take(&last);
        let pieces = self.splitter.push(self.stops.finish());
        self.keep(pieces);
        let pieces = self.splitter.finish();
        self.keep(pieces);
        let mut message = Message::assistant(std::mem::take(&mut self.answer));
        if !self.reasoning.is_empty() {
            message.reasoning = Some(std::mem::take(&mut self.reasoning));
        }
        self.chat.messages.push(message);
    }
}

impl Iterator for Reply<'_> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Result<Piece>> {
        if let Err(error) = self.begin(FeedOptions::new()) {
            return Some(Err(error));
        }
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(Ok(piece));
            }
            if self.state != State::Running {
                return None;
            }
            if let Err(error) = self.step() {
                self.end();
                self.ready.clear();
                return Some(Err(error));
            }
        }
    }
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
