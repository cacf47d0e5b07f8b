//! Messages of a conversation, typed where all templates agree and open where they do not.

use crate::error::{Error, Result};
use serde_json::{Map, Value, json};
use std::fmt;

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Instructions to the model.
    System,
    /// The person, or the program, that asks.
    User,
    /// The model.
    Assistant,
    /// The result of a tool that the model called.
    Tool,
    /// A role that only some templates know, such as `developer`.
    Other(String),
}

impl Role {
    /// The role's name in templates: `system`, `user`, `assistant`, `tool`, or the other name.
    pub fn name(&self) -> &str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
            Role::Other(name) => name,
        }
    }
}

impl From<&str> for Role {
    fn from(name: &str) -> Role {
        match name {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            other => Role::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Nothing, `null` in JSON: a message that only calls tools.
    None,
    /// Text.
    Text(String),
    /// Anything else a template may know, such as a list of parts
    /// `[{"type": "text", "text": "…"}]`.
    Json(Value),
}

impl Content {
    /// The text, if this is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Content::Text(text) => Some(text),
            Content::None | Content::Json(_) => None,
        }
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Content {
        Content::Text(text.to_owned())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Content {
        Content::Text(text)
    }
}

/// A call of a tool by the model.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// Names the call, so that its result can refer to it. Some templates demand nine letters or
    /// digits.
    pub id: Option<String>,
    /// Name of the tool.
    pub name: String,
    /// Its arguments, usually an object.
    pub arguments: Value,
}

/// One message of a conversation.
///
/// ```
/// use yareta::template::{Message, Role};
/// let message = Message::user("Hello!");
/// assert_eq!(message.role, Role::User);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Content,
    /// What the model thought before it answered. Templates see it as `reasoning_content` and as
    /// `thinking`.
    pub reasoning: Option<String>,
    /// The tools that the message calls.
    pub tool_calls: Vec<ToolCall>,
    /// The call that a message of role [`Role::Tool`] is the result of.
    pub tool_call_id: Option<String>,
    /// Name of the speaker, or of the tool.
    pub name: Option<String>,
    /// Other fields that the template reads.
    pub other: Map<String, Value>,
}

impl Message {
    /// A message with a role and a content and nothing else.
    pub fn new(role: Role, content: impl Into<Content>) -> Message {
        Message {
            role,
            content: content.into(),
            reasoning: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            name: None,
            other: Map::new(),
        }
    }

    /// Instructions.
    pub fn system(content: impl Into<Content>) -> Message {
        Message::new(Role::System, content)
    }

    /// A question.
    pub fn user(content: impl Into<Content>) -> Message {
        Message::new(Role::User, content)
    }

    /// An answer.
    pub fn assistant(content: impl Into<Content>) -> Message {
        Message::new(Role::Assistant, content)
    }

    /// The result of the call `id` of a tool.
    pub fn tool(id: impl Into<String>, content: impl Into<Content>) -> Message {
        Message {
            tool_call_id: Some(id.into()),
            ..Message::new(Role::Tool, content)
        }
    }

    /// Reads a message in the form of the OpenAI API.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] naming `messages`, for a value that is not an object or has no
    /// `role`, and for a field that has another type than it must have.
    pub fn from_json(value: &Value) -> Result<Message> {
        let object = value
            .as_object()
            .ok_or_else(|| invalid("must be objects"))?;
        let role = match object.get("role") {
            Some(Value::String(role)) => Role::from(role.as_str()),
            _ => return Err(invalid("must have a `role` that is a string")),
        };
        let mut message = Message::new(role, Content::None);
        for (field, value) in object {
            match (field.as_str(), value) {
                ("role", _) | ("content", Value::Null) => {}
                ("content", Value::String(text)) => message.content = text.clone().into(),
                ("content", other) => message.content = Content::Json(other.clone()),
                ("reasoning_content", Value::String(text)) => {
                    message.reasoning = Some(text.clone());
                }
                ("tool_calls", Value::Array(calls)) => {
                    message.tool_calls = calls.iter().map(tool_call).collect::<Result<_>>()?;
                }
                ("tool_call_id", Value::String(id)) => message.tool_call_id = Some(id.clone()),
                ("name", Value::String(name)) => message.name = Some(name.clone()),
                ("reasoning_content" | "tool_calls" | "tool_call_id" | "name", Value::Null) => {}
                ("reasoning_content" | "tool_calls" | "tool_call_id" | "name", _) => {
                    return Err(invalid(&format!("have a `{field}` of a wrong type")));
                }
                _ => {
                    message.other.insert(field.clone(), value.clone());
                }
            }
        }
        Ok(message)
    }

    /// The message in the form of the OpenAI API, as templates see it.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("role".to_owned(), json!(self.role.name()));
        let content = match &self.content {
            Content::None => Value::Null,
            Content::Text(text) => json!(text),
            Content::Json(value) => value.clone(),
        };
        object.insert("content".to_owned(), content);
        if let Some(reasoning) = &self.reasoning {
            object.insert("reasoning_content".to_owned(), json!(reasoning));
        }
        if !self.tool_calls.is_empty() {
            let calls = self.tool_calls.iter().map(|call| {
                let mut object = Map::new();
                if let Some(id) = &call.id {
                    object.insert("id".to_owned(), json!(id));
                }
                object.insert("type".to_owned(), json!("function"));
                let function = json!({"name": call.name, "arguments": call.arguments});
                object.insert("function".to_owned(), function);
                Value::Object(object)
            });
            object.insert("tool_calls".to_owned(), calls.collect());
        }
        if let Some(id) = &self.tool_call_id {
            object.insert("tool_call_id".to_owned(), json!(id));
        }
        if let Some(name) = &self.name {
            object.insert("name".to_owned(), json!(name));
        }
        for (field, value) in &self.other {
            object.insert(field.clone(), value.clone());
        }
        Value::Object(object)
    }
}

/// Reads `{"id", "type", "function": {"name", "arguments"}}`, or `{"name", "arguments"}` alone.
fn tool_call(value: &Value) -> Result<ToolCall> {
    let function = value.get("function").unwrap_or(value);
    let name = function
        .get("name")
        .and_then(Value::as_str)
        .ok_or_else(|| invalid("have a tool call without a name"))?;
    Ok(ToolCall {
        id: value.get("id").and_then(Value::as_str).map(str::to_owned),
        name: name.to_owned(),
        arguments: function.get("arguments").cloned().unwrap_or(json!({})),
    })
}

fn invalid(reason: &str) -> Error {
    Error::InvalidOption {
        option: "messages",
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_round_trips() {
        let value = json!({
            "role": "assistant",
            "content": null,
            "reasoning_content": "hm",
            "tool_calls": [{
                "id": "a",
                "type": "function",
                "function": {"name": "now", "arguments": {"zone": "UTC"}},
            }],
            "name": "Bot",
            "weight": 1,
        });
        let message = Message::from_json(&value).unwrap();
        assert_eq!(message.tool_calls[0].arguments["zone"], "UTC");
        assert_eq!(message.to_json().to_string(), value.to_string());
    }

    #[test]
    fn what_cannot_be_a_message_is_refused() {
        for value in [
            json!("Hello"),
            json!({"content": "Hello"}),
            json!({"role": 7}),
            json!({"role": "user", "name": 7}),
            json!({"role": "assistant", "tool_calls": [{}]}),
        ] {
            match Message::from_json(&value).unwrap_err() {
                Error::InvalidOption { option, .. } => assert_eq!(option, "messages", "{value}"),
                other => panic!("{other}"),
            }
        }
    }
}
