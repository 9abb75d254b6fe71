//! The small HTTP client of the commands: plain HTTP/1.1, one connection per request, answers whole or in pieces.

use bytes::Bytes;
use fleuve_types::{Error, ErrorKind, Location, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::args::ServerArgs;
use super::exact::{IN_RESULTS, exact};
use crate::config::{HostPort, server_data_folder};
use crate::doors::OpenDoors;

const DEFAULT_PORT: u16 = 8080;

/// What a command accepts as the answer.
pub const JSON: &str = "application/json";
/// Server-sent events.
pub const EVENTS: &str = "text/event-stream";

/// The server's HTTP door.
#[derive(Clone, Debug)]
pub struct Server {
    address: HostPort,
}

/// An answer whose body has not been read yet.
pub struct Answer {
    body: Incoming,
    /// The media type, without its parameters.
    pub content_type: String,
    /// What the user should know about it, where the body has rows alone.
    pub notices: Vec<String>,
    // The connection's task ends with the body; dropping the answer closes the connection, which cancels the query.
    _connection: AbortOnDrop,
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    /// The server that was named, else the one that wrote its doors into the data folder, else the default address.
    pub fn find(args: &ServerArgs) -> Self {
        let written = || OpenDoors::read(&server_data_folder())?.http.map(OpenDoors::from_here);
        let default = || HostPort { host: "127.0.0.1".into(), port: DEFAULT_PORT };
        Self { address: args.server.clone().or_else(written).unwrap_or_else(default) }
    }

    /// `http://HOST:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `GET path`.
    ///
    /// # Errors
    /// The server's own error, or that it cannot be reached.
    pub async fn get(&self, path: &str, accept: &str) -> Result<Answer> {
        self.send(hyper::Method::GET, path, accept, None).await
    }

    /// `GET path`, and the answer as JSON, with the numbers in `place` [`exact`].
    ///
    /// # Errors
    /// As for [`Server::get`].
    pub async fn get_json(&self, path: &str, place: &[u8]) -> Result<Value> {
        json_of(&exact(&self.get(path, JSON).await?.bytes().await?, place))
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// As for [`Server::get`].
    pub async fn post(&self, path: &str, body: &Value, accept: &str) -> Result<Answer> {
        self.send(hyper::Method::POST, path, accept, Some(body)).await
    }

    /// `POST path`, and the answer as JSON, with the cells of rows [`exact`].
    ///
    /// # Errors
    /// As for [`Server::get`].
    pub async fn post_json(&self, path: &str, body: &Value) -> Result<Value> {
        json_of(&exact(&self.post(path, body, JSON).await?.bytes().await?, IN_RESULTS))
    }

    async fn send(&self, method: hyper::Method, path: &str, accept: &str, body: Option<&Value>) -> Result<Answer> {
        let stream = TcpStream::connect((self.address.host.as_str(), self.address.port))
            .await
            .map_err(|e| self.unreachable(&e))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(&e))?;
        let connection = AbortOnDrop(tokio::spawn(async move {
            // What ends a connection early is told by the request or the body that was under way.
            let _ = connection.await;
        }));
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(ACCEPT, accept);
        let body = match body {
            Some(value) => {
                request = request.header(CONTENT_TYPE, JSON);
                Bytes::from(value.to_string())
            }
            None => Bytes::new(),
        };
        let request =
            request.body(Full::new(body)).map_err(|e| Error::bug(format!("cannot form the request {path}: {e}")))?;
        let response = sender.send_request(request).await.map_err(|e| self.broken(&e))?;
        let status = response.status();
        let content_type = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .map(|v| v.split(';').next().unwrap_or(v).trim().to_string())
            .unwrap_or_default();
        let notices = response.headers().get_all("fleuve-notice").iter();
        let notices = notices.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect();
        let answer = Answer { body: response.into_body(), content_type, notices, _connection: connection };
        match status.is_success() {
            true => Ok(answer),
            false => Err(self.refusal(status, answer).await),
        }
    }

    /// The error that the server sent.
    async fn refusal(&self, status: hyper::StatusCode, answer: Answer) -> Error {
        let body = answer.bytes().await.unwrap_or_default();
        let parsed: Option<Error> = serde_json::from_slice::<Value>(&body).ok().and_then(|v| error_from(&v["error"]));
        parsed.unwrap_or_else(|| {
            Error::new(ErrorKind::Unsupported, format!("{} answered {status}", self.url()))
                .hint("is that a Fleuve server's HTTP door?")
        })
    }

    fn unreachable(&self, error: &std::io::Error) -> Error {
        let what = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => format!("no server answers at {}", self.url()),
            _ => format!("cannot reach the server at {}: {error}", self.url()),
        };
        Error::new(ErrorKind::Retry, what).hint("start one with `fleuve serve`, or say where it is with --server URL")
    }

    fn broken(&self, error: &dyn std::error::Error) -> Error {
        Error::new(ErrorKind::Unknown, format!("the connection to {} broke: {}", self.url(), root_cause(error)))
            .hint("did the server stop? its own messages say why")
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

impl Answer {
    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// [`ErrorKind::Unknown`] when the connection breaks.
    pub async fn piece(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|e| {
                Error::new(
                    ErrorKind::Unknown,
                    format!("the server stopped in the middle of its answer: {}", root_cause(&e)),
                )
            })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The whole body.
    ///
    /// # Errors
    /// As for [`Answer::piece`].
    pub async fn bytes(mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.piece().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// The whole body as JSON.
    ///
    /// # Errors
    /// Also [`ErrorKind::Bug`] when it is none.
    pub async fn json(self) -> Result<Value> {
        json_of(&self.bytes().await?)
    }
}

fn json_of(body: &[u8]) -> Result<Value> {
    serde_json::from_slice(body).map_err(|e| Error::bug(format!("the server's answer is not JSON: {e}")))
}

/// The error object of the API: `{kind, message, location, hint}`.
pub fn error_from(value: &Value) -> Option<Error> {
    let text = |v: &Value| v.as_str().map(ToString::to_string);
    let kind = match value["kind"].as_str().unwrap_or_default().to_ascii_lowercase().replace('_', "").as_str() {
        "notfound" => ErrorKind::NotFound,
        "alreadyexists" => ErrorKind::AlreadyExists,
        "config" => ErrorKind::Config,
        "limit" => ErrorKind::Limit,
        "retry" => ErrorKind::Retry,
        "unknown" => ErrorKind::Unknown,
        "unsupported" => ErrorKind::Unsupported,
        "io" => ErrorKind::Io,
        "bug" => ErrorKind::Bug,
        _ => ErrorKind::Input,
    };
    let location = &value["location"];
    let location = location["line"].as_u64().map(|line| Location {
        file: text(&location["file"]),
        line,
        column: location["column"].as_u64().unwrap_or(1),
    });
    Some(Error { kind, message: text(&value["message"])?, location, hint: text(&value["hint"]) })
}

/// Percent-encodes a value of a query string.
pub fn query_value(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => (b as char).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
