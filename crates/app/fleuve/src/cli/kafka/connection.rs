use std::collections::HashMap;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use fleuve_types::{Error, ErrorKind, Result};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::HostPort;

const CLIENT_ID: &str = "fleuve-cli";
/// An answer larger than this is not one of ours.
const MAX_ANSWER_BYTES: usize = 256 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than any time that a request asks the broker to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to a broker. Requests are answered one after the other.
pub struct Connection {
    address: HostPort,
    stream: TcpStream,
    correlation: i32,
    /// For each API the versions that the broker takes.
    versions: HashMap<i16, (i16, i16)>,
}

impl Connection {
    /// Connects and asks what the broker can do.
    ///
    /// # Errors
    /// Nobody answers there, or not in the Kafka protocol.
    pub async fn open(address: &HostPort) -> Result<Self> {
        let unreachable = |why: String| {
            Error::new(ErrorKind::Retry, why)
                .hint("start a server with `fleuve serve`, or say where it is with --kafka HOST:PORT")
        };
        let connect = TcpStream::connect((address.host.as_str(), address.port));
        let stream = match timeout(CONNECT_TIMEOUT, connect).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
                return Err(unreachable(format!("no Kafka broker answers at {address}")));
            }
            Ok(Err(e)) => return Err(unreachable(format!("cannot reach the Kafka broker at {address}: {e}"))),
            Err(_) => return Err(unreachable(format!("the Kafka broker at {address} does not answer"))),
        };
        stream.set_nodelay(true).map_err(|e| Error::io("cannot set up the connection", e))?;
        let mut connection = Self { address: address.clone(), stream, correlation: 0, versions: HashMap::new() };
        let answer: ApiVersionsResponse = connection.exchange(&ApiVersionsRequest::default(), 0).await?;
        connection.versions =
            answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        Ok(connection)
    }

    /// Where it goes.
    pub fn address(&self) -> &HostPort {
        &self.address
    }

    /// Sends a request in the highest version that the broker takes, this client knows, and `newest` allows.
    ///
    /// # Errors
    /// [`ErrorKind::Unknown`] when the connection breaks, [`ErrorKind::Unsupported`] when there is no common version.
    pub async fn call<R: Request>(&mut self, request: &R, newest: i16) -> Result<R::Response> {
        let (least, most) = self.versions.get(&R::KEY).copied().unwrap_or((0, -1));
        let version = most.min(newest).min(R::VERSIONS.max);
        if version < least || version < R::VERSIONS.min {
            let message =
                format!("the broker at {} does not offer what this command needs (API {})", self.address, R::KEY);
            return Err(Error::unsupported(message));
        }
        self.exchange(request, version).await
    }

    async fn exchange<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        self.correlation = self.correlation.wrapping_add(1);
        let frame = self.frame(request, version)?;
        let broken = |e: std::io::Error| {
            Error::new(ErrorKind::Unknown, format!("the connection to the Kafka broker broke: {e}"))
        };
        let exchange = async {
            self.stream.write_all(&frame).await?;
            let length = self.stream.read_i32().await?;
            let length = usize::try_from(length).ok().filter(|n| *n <= MAX_ANSWER_BYTES);
            let Some(length) = length else {
                return Err(std::io::Error::other("its answer has an impossible length; is it a Kafka broker?"));
            };
            let mut body = BytesMut::zeroed(length);
            self.stream.read_exact(&mut body).await?;
            Ok(body.freeze())
        };
        let answer = match timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(answer) => answer.map_err(broken)?,
            Err(_) => return Err(Error::new(ErrorKind::Unknown, "the Kafka broker does not answer")),
        };
        decode::<R>(answer, version, self.correlation)
    }

    fn frame<R: Request>(&self, request: &R, version: i16) -> Result<Bytes> {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        header
            .encode(&mut frame, R::header_version(version))
            .and_then(|()| request.encode(&mut frame, version))
            .map_err(|e| Error::bug(format!("cannot form a Kafka request: {e}")))?;
        let length = i32::try_from(frame.len() - 4).map_err(|_| Error::input("the request is larger than 2 GiB"))?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        Ok(frame.freeze())
    }
}

fn decode<R: Request>(mut answer: Bytes, version: i16, correlation: i32) -> Result<R::Response> {
    let wrong = |e: String| Error::new(ErrorKind::Unknown, format!("the Kafka broker's answer cannot be read: {e}"));
    let header = ResponseHeader::decode(&mut answer, <R::Response as HeaderVersion>::header_version(version))
        .map_err(|e| wrong(e.to_string()))?;
    if header.correlation_id != correlation {
        return Err(wrong("it belongs to another request".into()));
    }
    <R::Response as Decodable>::decode(&mut answer, version).map_err(|e| wrong(e.to_string()))
}
