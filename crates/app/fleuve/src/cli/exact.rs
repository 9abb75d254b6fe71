//! Numbers of an answer as the server wrote them. JSON's numbers become floating-point ones here, in which `12.50` is `12.5` and a
//! decimal of many digits another number; so those become texts before the answer is read.

#[cfg(test)]
mod tests;

/// Where the cells of rows stand in the answer of `POST /v1/sql`: `{"results":[{"rows":[[...`.
pub const IN_RESULTS: &[u8] = b"{[{[[";
/// Where they stand in that of `GET /v1/replay`: `{"rows":[[...`.
pub const IN_ROWS: &[u8] = b"{[[";
/// Where they stand in an event of a subscription: `{"row":{...`.
pub const IN_EVENT: &[u8] = b"{{";

/// `json` with the numbers directly in `place` as strings that a floating-point or 64-bit number may not give back.
pub fn exact(json: &[u8], place: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + json.len() / 8);
    let mut open: Vec<u8> = vec![];
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        let end = match byte {
            b'"' => end_of_string(json, at),
            b'-' | b'0'..=b'9' => {
                let rest = &json[at..];
                at + rest.iter().position(|b| !b"+-.eE0123456789".contains(b)).unwrap_or(rest.len())
            }
            _ => at + 1,
        };
        let token = &json[at..end];
        match byte {
            b'{' | b'[' => open.push(*byte),
            b'}' | b']' => drop(open.pop()),
            _ => {}
        }
        if matches!(byte, b'-' | b'0'..=b'9') && open == place && !is_kept(token) {
            out.push(b'"');
            out.extend_from_slice(token);
            out.push(b'"');
        } else {
            out.extend_from_slice(token);
        }
        at = end;
    }
    out
}

/// The place behind the string that begins at `from`.
fn end_of_string(json: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while let Some(byte) = json.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    json.len()
}

/// True if serde_json gives a number back as it was.
fn is_kept(token: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(token) else { return true };
    text.contains(['e', 'E']) || text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok()
}
