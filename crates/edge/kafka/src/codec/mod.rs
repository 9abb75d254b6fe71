//! The bytes of the protocol: requests in, answers out. Pure; holds nothing.

mod request;
mod response;
mod shape;
mod shapes;
#[cfg(test)]
mod tests;

pub use request::{APIS, Api, Header, Request, decode_request};
pub(crate) use request::{api, decode_header, decode_request_body};
pub(crate) use response::{encode_frame, string};
pub use shape::{MAX_ELEMENTS, Malformed};
