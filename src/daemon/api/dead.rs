//! Dead letters, as they are asked for over HTTP.

use http::{Method, StatusCode};

use super::{Answer, Api, letters, refused, shown, with_type};
use crate::http::{Asked, BodyFault};
use crate::model::{Object, Size, Text, Value, json};
use crate::store::{DeadLetter, DeadLetterFilter, Replay};

/// What is taken of a body: an item's value is the largest.
const MAX_BODY: usize = 64 << 20;

/// How much a list of dead letters holds at most; the asker comes again for more.
const PAGE: usize = 1000;
const PAGE_BYTES: Size = Size::mib(8);

impl Api {
    /// Answers what is asked below `/dead`.
    pub(super) async fn letters(&self, asked: Asked) -> Answer {
        let Asked { head, body, .. } = asked;
        let path = head.uri.path().strip_prefix("/dead").unwrap_or_default().trim_start_matches('/').to_owned();
        let query = head.uri.query().unwrap_or_default();
        let not_found = || (StatusCode::NOT_FOUND, "there is nothing here".to_owned());
        if head.method == Method::GET {
            return match path.as_str() {
                "" => self.list(query),
                "ids" => self.ids(query),
                id => self.letter(id.parse().map_err(|_| not_found())?),
            };
        }
        let body = body.read(MAX_BODY).await.map_err(|fault| match fault {
            BodyFault::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, format!("more than {}", Size(MAX_BODY as u64))),
            BodyFault::TooSlow | BodyFault::CutShort => {
                (StatusCode::BAD_REQUEST, "the request did not come whole".to_owned())
            }
        })?;
        let body = json::parse(&body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
        let wrong_body = || (StatusCode::BAD_REQUEST, "the body is not what this takes".to_owned());
        match path.as_str() {
            "replay" => self.replay(letters::read_replays(&body).ok_or_else(wrong_body)?).await,
            "drop" => {
                let ids = letters::read_ids(&body).ok_or_else(wrong_body)?;
                self.store.drop_dead_letters(&ids).await.map_err(refused)?;
                Ok(shown(&Value::Null))
            }
            path => {
                let id = path.strip_suffix("/value").and_then(|id| id.parse().ok()).ok_or_else(not_found)?;
                let value = DeadLetter::value_from_json(body).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
                self.store.edit_dead_letter(id, value).await.map_err(refused)?;
                Ok(shown(&Value::Null))
            }
        }
    }

    fn list(&self, query: &str) -> Answer {
        let filter = letters::read_list_query(query).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
        let limit = filter.limit.unwrap_or(PAGE).min(PAGE);
        let filter = DeadLetterFilter { limit: Some(limit), bytes: Some(PAGE_BYTES), ..filter };
        let letters = self.store.dead_letters(&filter).map_err(refused)?;
        let lines: String = letters.iter().map(|letter| format!("{}\n", letter.to_json())).collect();
        Ok(with_type(lines, "application/x-ndjson"))
    }

    fn ids(&self, query: &str) -> Answer {
        let filter = letters::read_list_query(query).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
        let ids = self.store.dead_letter_ids(&filter).map_err(refused)?;
        Ok(shown(&letters::ids_body(&ids, [])))
    }

    fn letter(&self, id: i64) -> Answer {
        let letter = self.store.dead_letter(id).map_err(refused)?;
        Ok(shown(&letter.map_or(Value::Null, |letter| letter.to_json())))
    }

    /// Answers why some of the letters will not be replayed as things stand.
    async fn replay(&self, replays: Vec<Replay>) -> Answer {
        let mut warnings: Vec<String> = Vec::new();
        for Replay { letter, from, .. } in &replays {
            let Some(letter) = self.store.dead_letter(*letter).map_err(refused)? else { continue };
            let checked = self.engine.check_replay(&letter.pipeline, &letter.component, from.as_deref());
            warnings.extend(checked.err().filter(|why| !warnings.contains(why)));
        }
        self.store.replay_dead_letters(replays).await.map_err(refused)?;
        let warnings = Value::array(warnings.into_iter().map(Value::from).collect());
        Ok(shown(&Value::object([(Text::from("warnings"), warnings)].into_iter().collect::<Object>())))
    }
}
