//! A line of a web server's access log, in the combined format of Apache and nginx.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use headwater::prelude::*;
use headwater::topology::BoxError;

/// Parts of the names that programs give themselves which read pages on their own.
const BOTS: [&str; 5] = ["bot", "crawl", "feed", "slurp", "spider"];
const IMAGES: [&str; 7] = ["gif", "ico", "jpeg", "jpg", "png", "svg", "webp"];

/// One request that the server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) client: String,
    pub(crate) time: Timestamp,
    /// The request target without its query string.
    pub(crate) path: String,
    pub(crate) agent: String,
}

impl Hit {
    /// Reads `client ident user [time] "method target protocol" status bytes "referrer" "agent"`.
    pub(crate) fn parse(line: &str) -> Result<Self, BoxError> {
        let mut fields = Fields { rest: line };
        let client = fields.word("client address")?;
        fields.word("identity")?;
        fields.word("user")?;
        let time = fields.enclosed('[', ']', "time")?;
        let request = fields.enclosed('"', '"', "request")?;
        fields.word("status")?;
        fields.word("size")?;
        fields.enclosed('"', '"', "referrer")?;
        let agent = fields.enclosed('"', '"', "user agent")?;

        let target = request.split(' ').nth(1).ok_or("the request has no target")?;
        let path = target.split('?').next().unwrap_or(target);
        Ok(Self {
            client: client.to_owned(),
            time: parse_time(time)?,
            path: path.to_owned(),
            agent: agent.to_owned(),
        })
    }

    /// The same hit without what tells one client from its neighbours.
    pub(crate) fn masked(self) -> Self {
        Self { client: mask(&self.client), ..self }
    }

    pub(crate) fn is_by_bot(&self) -> bool {
        let agent = self.agent.to_ascii_lowercase();
        BOTS.iter().any(|bot| agent.contains(bot))
    }

    pub(crate) fn is_image(&self) -> bool {
        let extension = self.path.rsplit_once('.').map(|(_, extension)| extension);
        extension.is_some_and(|found| IMAGES.iter().any(|image| found.eq_ignore_ascii_case(image)))
    }
}

/// Lines of the log as values of a topic: a line that is no hit does not deserialize, which is
/// what the application's deserialization handler is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HitSerde;

impl Serde<Hit> for HitSerde {
    fn serialize(&self, _hit: &Hit, _buffer: &mut Vec<u8>) -> Result<(), BoxError> {
        Err("hits are only read: the server writes the log".into())
    }

    fn deserialize(&self, bytes: &[u8]) -> Result<Hit, BoxError> {
        Hit::parse(std::str::from_utf8(bytes)?)
    }
}

/// What is left of a line.
struct Fields<'a> {
    rest: &'a str,
}

impl<'a> Fields<'a> {
    fn word(&mut self, name: &str) -> Result<&'a str, BoxError> {
        let (word, rest) = self.rest.split_once(' ').unwrap_or((self.rest, ""));
        if word.is_empty() {
            return Err(format!("the line ends before the {name}").into());
        }
        self.rest = rest;
        Ok(word)
    }

    /// A field between two marks; the server escapes a quote within it with a backslash.
    fn enclosed(&mut self, open: char, close: char, name: &str) -> Result<&'a str, BoxError> {
        let content = self
            .rest
            .strip_prefix(open)
            .ok_or_else(|| format!("the {name} does not begin with {open}"))?;
        let mut from = 0;
        let end = loop {
            let found = content[from..].find(close).map(|at| from + at);
            let end = found.ok_or_else(|| format!("the {name} does not end with {close}"))?;
            let before = content[..end].bytes().rev();
            let backslashes = before.take_while(|byte| *byte == b'\\').count();
            if backslashes.is_multiple_of(2) {
                break end;
            }
            from = end + close.len_utf8();
        };
        let (field, rest) = content.split_at(end);
        let rest = &rest[close.len_utf8()..];
        self.rest = rest.strip_prefix(' ').unwrap_or(rest);
        Ok(field)
    }
}

/// Reads `17/May/2015:10:05:03 +0000`.
fn parse_time(text: &str) -> Result<Timestamp, BoxError> {
    let parsed = jiff::fmt::strtime::parse("%d/%b/%Y:%H:%M:%S %z", text)
        .and_then(|time| time.to_timestamp())
        .map_err(|error| format!("the time {text:?} is not one: {error}"))?;
    Ok(Timestamp::from_millis(parsed.as_millisecond()))
}

/// Keeps the network: 24 bits of an IPv4 address, 48 of an IPv6 address, nothing of a host name.
fn mask(client: &str) -> String {
    match client.parse() {
        Ok(IpAddr::V4(address)) => Ipv4Addr::from_bits(address.to_bits() & !0xff).to_string(),
        Ok(IpAddr::V6(address)) => {
            Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80)).to_string()
        }
        Err(_) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Hit, mask};

    const HEAD: &str = "198.18.4.7 - - [17/May/2015:10:05:03 +0200]";

    #[test]
    fn a_line_is_read_with_its_escaped_quotes_and_without_its_query_string() {
        let line = format!(r#"{HEAD} "GET /a/b?c=d HTTP/1.1" 200 - "-" "a \"bot\" \\" "more""#);
        let hit = Hit::parse(&line).unwrap();
        assert_eq!(hit.client, "198.18.4.7");
        assert_eq!(hit.time.as_millis(), 1_431_849_903_000);
        assert_eq!(hit.path, "/a/b");
        assert_eq!(hit.agent, r#"a \"bot\" \\"#);
        assert!(hit.is_by_bot());
        assert_eq!(hit.masked().client, "198.18.4.0");
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        for (rest, expected) in [
            ("", "the request does not begin with \""),
            (r#" "GET /"#, "the request does not end with \""),
            (r#" "-" 400 0 "-" "-""#, "the request has no target"),
            (r#" "GET /" 200 7 "-" "Mozilla\""#, "the user agent does not end with \""),
            (r#" "GET /" 200 7"#, "the referrer does not begin with \""),
            (r#" "GET /" 200"#, "the line ends before the size"),
        ] {
            let error = Hit::parse(&format!("{HEAD}{rest}")).unwrap_err().to_string();
            assert_eq!(error, expected, "{rest}");
        }
        let error = Hit::parse(r#"a - - [yesterday] "GET /" 200 7 "-" "-""#).unwrap_err();
        assert!(error.to_string().starts_with("the time \"yesterday\" is not one: "), "{error}");
    }

    #[test]
    fn a_masked_client_is_a_network() {
        for (client, expected) in [
            ("198.18.4.7", "198.18.4.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
            ("proxy.example.org", "-"),
        ] {
            assert_eq!(mask(client), expected);
        }
    }
}
