//! What a terminal says.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::{ErrorCode, ErrorInfo};
use super::members::Members;
use super::search::LogSearchQuery;
use crate::entry::{Level, Source};
use crate::position::Cursor;
use crate::text::{Text, describe_at, excerpt};
use crate::time::Timestamp;

/// A message from the terminal to the gateway.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum ClientMessage {
    /// Watch a card too. One that is watched already goes on at `position`, if that is given.
    SubscribeCard {
        /// The card.
        card_id: String,
        /// Where to go on: the `position` of the last frame seen of this card.
        #[serde(skip_serializing_if = "Option::is_none")]
        position: Option<Cursor>,
        /// How many of the newest entries come first, if there is no `position`.
        #[serde(skip_serializing_if = "Option::is_none")]
        history: Option<usize>,
        /// Which entries to show; all unless given.
        #[serde(skip_serializing_if = "Option::is_none")]
        filters: Option<LiveFilters>,
    },
    /// Watch a card no longer.
    UnsubscribeCard {
        /// The card.
        card_id: String,
    },
    /// Go on after a lost connection: each card at its last position, subscribed to if it is not yet.
    Resume {
        /// By card, the `position` of the last frame seen.
        positions: BTreeMap<String, Cursor>,
    },
    /// Show only these entries from now on, live; answered with `filters_set`, after the last entry shown by the old ones.
    SetFilters {
        /// The card; all that are watched, if absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        card_id: Option<String>,
        /// Which entries to show; all of them, if absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        filters: Option<LiveFilters>,
    },
    /// Show only this run (and others subscribed to) instead of all of the card.
    SubscribeRun {
        /// The run.
        run_id: String,
    },
    /// Take back a `subscribe_run`; after the last one, all of the card is shown again.
    UnsubscribeRun {
        /// The run.
        run_id: String,
    },
    /// Stop live entries; the gateway keeps the cursor.
    PauseStream {},
    /// Go on with live entries, from where the stream was paused: nothing is missed.
    ResumeStream {},
    /// Replay a run.
    ReplayRun {
        /// The run.
        run_id: String,
        /// How.
        #[serde(skip_serializing_if = "Option::is_none")]
        options: Option<ReplayOptions>,
    },
    /// Pause, resume or stop a replay.
    ReplayControl {
        /// What to do.
        action: ReplayAction,
        /// The replay, from its `replay_started`.
        session_id: String,
    },
    /// Move a replay to another place.
    ReplaySeek {
        /// The replay.
        session_id: String,
        /// Where to: `position`, `time` or `fraction`.
        #[serde(flatten)]
        to: SeekTo,
    },
    /// Change a replay's pace.
    ReplaySpeed {
        /// The replay.
        session_id: String,
        /// Multiplies the original pace; 1 is real time, 0 as fast as the client reads.
        speed: f64,
    },
    /// Skip to the end of what a replay's run has now, and follow it live if it goes on.
    ReplayJumpLive {
        /// The replay.
        session_id: String,
    },
    /// Go on under another token of the same bearer; answered with `token_refreshed`.
    RefreshToken {
        /// The token.
        token: BearerToken,
    },
    /// Search entries.
    SearchLogs {
        /// For what.
        query: Box<LogSearchQuery>,
    },
    /// Ask for a run's summary.
    GetRunSummary {
        /// The run.
        run_id: String,
    },
    /// Answered with a `pong` of the same timestamp.
    Ping {
        /// The client's clock, in milliseconds.
        timestamp: i64,
    },
}

type Build = fn(&mut Members<'_>) -> Result<ClientMessage, String>;

/// How each `type` of message is made of its members.
const MESSAGES: [(&str, Build); 17] = [
    ("subscribe_card", |members| {
        let card_id = members.required("cardId")?;
        let (position, history) = (members.optional("position")?, members.optional("history")?);
        Ok(ClientMessage::SubscribeCard { card_id, position, history, filters: members.optional("filters")? })
    }),
    ("unsubscribe_card", |members| Ok(ClientMessage::UnsubscribeCard { card_id: members.required("cardId")? })),
    ("resume", |members| Ok(ClientMessage::Resume { positions: members.required("positions")? })),
    ("set_filters", |members| {
        let card_id = members.optional("cardId")?;
        Ok(ClientMessage::SetFilters { card_id, filters: members.optional("filters")? })
    }),
    ("subscribe_run", |members| Ok(ClientMessage::SubscribeRun { run_id: members.required("runId")? })),
    ("unsubscribe_run", |members| Ok(ClientMessage::UnsubscribeRun { run_id: members.required("runId")? })),
    ("pause_stream", |_| Ok(ClientMessage::PauseStream {})),
    ("resume_stream", |_| Ok(ClientMessage::ResumeStream {})),
    ("replay_run", |members| {
        let run_id = members.required("runId")?;
        Ok(ClientMessage::ReplayRun { run_id, options: members.optional("options")? })
    }),
    ("replay_control", |members| {
        let action = members.required("action")?;
        Ok(ClientMessage::ReplayControl { action, session_id: members.required("sessionId")? })
    }),
    ("replay_seek", |members| {
        let session_id = members.required("sessionId")?;
        Ok(ClientMessage::ReplaySeek { session_id, to: seek_to(members)? })
    }),
    ("replay_speed", |members| {
        let session_id = members.required("sessionId")?;
        let Speed(speed) = members.required("speed")?;
        Ok(ClientMessage::ReplaySpeed { session_id, speed })
    }),
    ("replay_jump_live", |members| Ok(ClientMessage::ReplayJumpLive { session_id: members.required("sessionId")? })),
    ("refresh_token", |members| Ok(ClientMessage::RefreshToken { token: members.required("token")? })),
    ("search_logs", |members| Ok(ClientMessage::SearchLogs { query: members.required("query")? })),
    ("get_run_summary", |members| Ok(ClientMessage::GetRunSummary { run_id: members.required("runId")? })),
    ("ping", |members| Ok(ClientMessage::Ping { timestamp: members.required("timestamp")? })),
];

impl ClientMessage {
    /// The `type` of every message.
    pub const TYPES: [&str; MESSAGES.len()] = {
        let mut types = [""; MESSAGES.len()];
        let mut index = 0;
        while index < types.len() {
            types[index] = MESSAGES[index].0;
            index += 1;
        }
        types
    };

    /// Reads a message.
    ///
    /// # Errors
    /// What to answer: `invalid_message` if it isn't a JSON object, `unknown_type` if its type is none of these, else
    /// `invalid_value` with the field at fault.
    pub fn parse(text: &str) -> Result<Self, ErrorInfo> {
        let mut members: Members<'_> = serde_json::from_str(text).map_err(|error| {
            // Bounded, for an error may repeat what it found.
            let message = format!("not a JSON object: {}", describe_at(&error));
            ErrorInfo { code: ErrorCode::InvalidMessage, message, in_reply_to: None, at: None }
        })?;
        let found = members.raw("type").map(RawValue::get);
        let name = found.and_then(|found| serde_json::from_str::<Text<'_>>(found).ok());
        let Some((name, build)) = MESSAGES.into_iter().find(|(known, _)| name.as_deref() == Some(known)) else {
            let found = found.map_or("missing", excerpt);
            let known = Self::TYPES.join(", ");
            let message = format!("the type is {found}; it must be one of {known}");
            return Err(ErrorInfo { code: ErrorCode::UnknownType, message, in_reply_to: None, at: None });
        };
        let built = build(&mut members).and_then(|message| members.finish().map(|()| message));
        built.map_err(|message| ErrorInfo {
            code: ErrorCode::InvalidValue,
            message,
            in_reply_to: Some(name.to_owned()),
            at: None,
        })
    }
}

/// What to do with a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum ReplayAction {
    Pause,
    Resume,
    Stop,
}

/// Where a replay is moved to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SeekTo {
    /// An entry's place.
    Position(SeekPosition),
    /// The first entry not before this time, by the running maximum of timestamps.
    Time(Timestamp),
    /// A part of the run's entries, from 0 to 1.
    Fraction(f64),
}

fn seek_to(members: &mut Members<'_>) -> Result<SeekTo, String> {
    let position = members.optional("position")?.map(SeekTo::Position);
    let time = members.optional("time")?.map(SeekTo::Time);
    let fraction = members.optional("fraction")?.map(SeekTo::Fraction);
    match (position, time, fraction) {
        (_, _, Some(SeekTo::Fraction(part))) if !(0.0..=1.0).contains(&part) => {
            Err("field fraction: it is from 0 to 1".to_owned())
        }
        (Some(to), None, None) | (None, Some(to), None) | (None, None, Some(to)) => Ok(to),
        _ => Err("one of the fields position, time and fraction is required".to_owned()),
    }
}

/// A token as a client sends it. It is not printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BearerToken(pub String);

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(…)")
    }
}

/// A place in a replay.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SeekPosition {
    /// The ordinal of an entry, from 0. Beyond the end it means the end.
    Ordinal(u64),
    /// Just after the frame that carried this `position`.
    Cursor(Cursor),
}

impl<'de> Deserialize<'de> for SeekPosition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SeekVisitor;

        impl Visitor<'_> for SeekVisitor {
            type Value = SeekPosition;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the ordinal of an entry, from 0, or the `position` of a frame")
            }

            fn visit_u64<E: Error>(self, ordinal: u64) -> Result<SeekPosition, E> {
                Ok(SeekPosition::Ordinal(ordinal))
            }

            fn visit_str<E: Error>(self, cursor: &str) -> Result<SeekPosition, E> {
                cursor.parse().map(SeekPosition::Cursor).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(SeekVisitor)
    }
}

/// How a replay plays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ReplayOptions {
    /// Multiplies the original pace; 1 is real time, 0 as fast as the client reads.
    #[serde(deserialize_with = "speed")]
    pub speed: f64,
    /// Begin at the first entry not before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// End after the last entry not after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// Show only these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<ReplayFilters>,
    /// Show entries of source `system` too.
    pub include_system_logs: bool,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        ReplayOptions { speed: 1.0, start_time: None, end_time: None, filters: None, include_system_logs: false }
    }
}

fn speed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let speed = f64::deserialize(deserializer)?;
    if speed.is_finite() && speed >= 0.0 { Ok(speed) } else { Err(D::Error::custom("a speed is 0 or more")) }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Speed(#[serde(deserialize_with = "speed")] f64);

/// Which live entries are shown; an absent list lets all pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "the names say it")]
pub struct LiveFilters {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub levels: Option<Vec<Level>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<Source>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub components: Option<Vec<String>>,
    /// What the message must contain, whatever its case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Which entries a replay shows; an absent list lets all pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ReplayFilters {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub levels: Option<Vec<Level>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<Source>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub components: Option<Vec<String>>,
}
