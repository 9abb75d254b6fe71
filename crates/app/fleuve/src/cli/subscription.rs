//! A view's changes as the server sends them (`GET /v1/subscribe`, server-sent events).

use fleuve_types::{Error, ErrorKind, Result};
use serde_json::Value;

use super::args::ChangeFormat;
use super::exact::{IN_EVENT, exact};
use super::http::{Answer, EVENTS, Server, error_from, query_value};
use super::render::{Column, Rows, json_object, plain};
use super::sql::ask_rows;

/// An event longer than this is not from a Fleuve server.
const MAX_EVENT_BYTES: usize = 64 << 20;

/// One row that came or went.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub epoch: u64,
    /// How many more (or fewer) copies of the row there are.
    pub weight: i64,
    /// The row's values in the order of the columns.
    pub row: Vec<Value>,
}

/// What comes in.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A row of an epoch that is not over yet.
    Change(Change),
    /// All changes of this epoch have been sent.
    Epoch(u64),
}

/// The open subscription.
pub struct Subscription {
    pub columns: Vec<Column>,
    events: Events,
}

impl Subscription {
    /// Subscribes; the first changes are the rows as they stand.
    ///
    /// # Errors
    /// The server's: no such view, or nobody there.
    pub async fn open(server: &Server, name: &str) -> Result<Self> {
        let columns = ask_rows(server, &format!("SELECT * FROM {name} LIMIT 0")).await?.columns;
        let answer = server.get(&format!("/v1/subscribe?name={}", query_value(&bare_name(name))), EVENTS).await?;
        Ok(Self { columns, events: Events::new(answer) })
    }

    /// The next step; `None` when the server has ended the subscription.
    ///
    /// # Errors
    /// The view was dropped, this reader was too slow, or the server went away.
    pub async fn next(&mut self) -> Result<Option<Step>> {
        while let Some(event) = self.events.next().await? {
            let data: Value = match event.data.is_empty() {
                true => Value::Null,
                false => serde_json::from_slice(&exact(event.data.as_bytes(), IN_EVENT))
                    .map_err(|e| Error::bug(format!("an event of the server is not JSON: {e}")))?,
            };
            match event.name.as_str() {
                "change" => return Ok(Some(Step::Change(self.change(data)?))),
                "epoch" => return Ok(Some(Step::Epoch(epoch_of(&data)))),
                "error" => {
                    let told = error_from(&data["error"]).or_else(|| error_from(&data));
                    return Err(
                        told.unwrap_or_else(|| Error::new(ErrorKind::Retry, "the server ended the subscription"))
                    );
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn change(&self, mut data: Value) -> Result<Change> {
        let epoch = epoch_of(&data);
        let weight = data["weight"].as_i64().ok_or_else(|| Error::bug("a change of the server has no weight"))?;
        let row = match data["row"].take() {
            Value::Object(mut row) => self.columns.iter().map(|c| row.remove(&c.name).unwrap_or(Value::Null)).collect(),
            Value::Array(row) => row,
            _ => return Err(Error::bug("a change of the server has no row")),
        };
        Ok(Change { epoch, weight, row })
    }
}

/// `"My View"` as `My View`, `Public.V` as `public.v`: the server's HTTP door takes names as they are, not as SQL writes them.
pub(super) fn bare_name(sql: &str) -> String {
    let mut bare = String::new();
    let mut quoted = false;
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => bare.push('"'),
            '"' => quoted = !quoted,
            c if quoted => bare.push(c),
            c => bare.extend(c.to_lowercase()),
        }
    }
    bare
}

fn epoch_of(data: &Value) -> u64 {
    data.as_u64().or_else(|| data["epoch"].as_u64()).unwrap_or_default()
}

/// A change as a line: its epoch, its sign (with the number of copies if not one) and the row.
pub fn change_line(columns: &[Column], change: &Change, format: ChangeFormat) -> String {
    match format {
        ChangeFormat::Json => {
            let named = Rows { columns: columns.to_vec(), rows: Vec::new() };
            let row = json_object(&named, &change.row);
            format!("{{\"epoch\":{},\"weight\":{},\"row\":{row}}}", change.epoch, change.weight)
        }
        ChangeFormat::Text => {
            let sign = match change.weight {
                1 => "+".to_string(),
                -1 => "-".to_string(),
                n => format!("{n:+}"),
            };
            let fields: Vec<String> = columns
                .iter()
                .zip(&change.row)
                .map(|(c, v)| format!("{}={}", c.name, plain(v).unwrap_or_else(|| "NULL".into()).escape_debug()))
                .collect();
            format!("{} {sign} {}", change.epoch, fields.join(" "))
        }
    }
}

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Event {
    name: String,
    data: String,
}

struct Events {
    answer: Answer,
    parser: EventParser,
}

impl Events {
    fn new(answer: Answer) -> Self {
        Self { answer, parser: EventParser::default() }
    }

    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.parser.next() {
                return Ok(Some(event));
            }
            if self.parser.pending_bytes() > MAX_EVENT_BYTES {
                return Err(Error::new(ErrorKind::Limit, "the server sent an event that is too long"));
            }
            match self.answer.piece().await? {
                Some(piece) => self.parser.push(&piece),
                None => return Ok(None),
            }
        }
    }
}

/// Takes bytes, gives events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
#[derive(Debug, Default)]
struct EventParser {
    buffer: Vec<u8>,
    read: usize,
    current: Event,
    any: bool,
}

impl EventParser {
    fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.read);
        self.read = 0;
        self.buffer.extend_from_slice(bytes);
    }

    fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.read + self.current.data.len()
    }

    fn next(&mut self) -> Option<Event> {
        while let Some(length) = self.buffer[self.read..].iter().position(|b| *b == b'\n') {
            let line = String::from_utf8_lossy(&self.buffer[self.read..self.read + length]).into_owned();
            self.read += length + 1;
            let line = line.trim_end_matches('\r');
            if line.is_empty() {
                let event = std::mem::take(&mut self.current);
                if std::mem::take(&mut self.any) {
                    return Some(event);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => self.current.name = value.to_string(),
                "data" => {
                    if !self.current.data.is_empty() {
                        self.current.data.push('\n');
                    }
                    self.current.data.push_str(value);
                }
                _ => continue,
            }
            self.any = true;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&str]) -> Vec<Event> {
        let mut parser = EventParser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.push(piece.as_bytes());
            while let Some(event) = parser.next() {
                events.push(event);
            }
        }
        events
    }

    #[test]
    fn events_are_found_however_the_bytes_are_cut() {
        let whole =
            ": hello\n\nevent: change\ndata: {\"a\":1}\n\nevent: epoch\r\ndata: {\"epoch\":\r\ndata: 7}\r\n\r\n";
        let wanted = parse(&[whole]);
        assert_eq!(wanted.len(), 2);
        assert_eq!(wanted[1], Event { name: "epoch".into(), data: "{\"epoch\":\n7}".into() });
        for cut in 1..whole.len() {
            assert_eq!(parse(&[&whole[..cut], &whole[cut..]]), wanted, "cut at {cut}");
        }
    }

    #[test]
    fn names_are_sent_as_they_are() {
        assert_eq!(bare_name("Public.Hits"), "public.hits");
        assert_eq!(bare_name("\"My View\""), "My View");
    }

    #[test]
    fn a_change_is_one_line() {
        let columns = vec![
            Column { name: "page".into(), sql_type: "TEXT".into() },
            Column { name: "n".into(), sql_type: "BIGINT".into() },
        ];
        let change = Change { epoch: 3, weight: -1, row: vec!["a\nb".into(), Value::Null] };
        assert_eq!(change_line(&columns, &change, ChangeFormat::Text), "3 - page=a\\nb n=NULL");
        let json = change_line(&columns, &change, ChangeFormat::Json);
        assert_eq!(json, "{\"epoch\":3,\"weight\":-1,\"row\":{\"page\":\"a\\nb\",\"n\":null}}");
        let twice = Change { weight: 2, ..change };
        assert!(change_line(&columns, &twice, ChangeFormat::Text).starts_with("3 +2 "));
    }
}
