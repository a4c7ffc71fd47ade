//! Addresses of webhooks: `https://host[:port]/path`, and what of that an installation allows.

use std::net::IpAddr;

use super::is_public;

/// Which addresses an installation allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlPolicy {
    /// Ports that may be called.
    pub ports: Vec<u16>,
    /// Whether machines of this one's own network may be called, and without TLS: for tests and demonstrations only.
    pub loopback: bool,
}

impl Default for UrlPolicy {
    /// The public Internet over TLS.
    fn default() -> Self {
        Self { ports: vec![443, 8443], loopback: false }
    }
}

/// An address taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether over TLS.
    pub tls: bool,
    /// The host: a name in lower case or an address without brackets.
    pub host: String,
    /// The host as a `Host` header has it.
    pub authority: String,
    /// The port.
    pub port: u16,
    /// Path and query, at least `/`.
    pub path: String,
}

impl UrlPolicy {
    /// Whether a network address may be called.
    pub fn allows(&self, address: IpAddr) -> bool {
        is_public(address) || (self.loopback && address.is_loopback())
    }

    /// Takes an address apart, or says what is wrong with it. Stricter than browsers: what is read here and what is called
    /// are the same bytes.
    pub fn read(&self, text: &str) -> Result<Target, String> {
        if text.len() > 2_000 {
            return Err("Use at most 2,000 characters.".to_owned());
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("Use visible ASCII characters only; write others as %XX or in Punycode.".to_owned());
        }
        let (tls, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) if self.loopback => (false, rest),
            Some(_) | None => return Err("Use an address that begins with https://.".to_owned()),
        };
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err("Leave user name and password out of the address.".to_owned());
        }
        if path.contains(['#', '\\']) {
            return Err("Leave # and \\ out of the address.".to_owned());
        }
        let (host, port) = split_port(authority).ok_or("The host cannot be read.")?;
        let port = match port {
            None => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(port) => port.parse().map_err(|_| "The port cannot be read.".to_owned())?,
        };
        let host = host.to_ascii_lowercase();
        let literal = host.parse::<IpAddr>().ok();
        match literal {
            Some(address) if !self.allows(address) => {
                return Err("The address is not one of the public Internet.".to_owned());
            }
            Some(_) => {}
            None => check_name(&host, self.loopback)?,
        }
        if !self.ports.contains(&port) && !self.loopback {
            let ports: Vec<_> = self.ports.iter().map(u16::to_string).collect();
            return Err(format!("Use one of the ports {}.", ports.join(", ")));
        }
        let path = match path.bytes().next() {
            None => "/".to_owned(),
            Some(b'?') => format!("/{path}"),
            Some(_) => path.to_owned(),
        };
        Ok(Target { tls, host, authority: authority.to_ascii_lowercase(), port, path })
    }
}

/// Host and port; brackets are taken off an IPv6 address.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => after.is_empty().then_some((host, None)),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

fn check_name(host: &str, loopback: bool) -> Result<(), String> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if host.len() > 253 || !host.split('.').all(is_label) {
        return Err("The host cannot be read.".to_owned());
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    // 127.1 and 0x7f000001 are names to us and addresses to others.
    if last.starts_with(|letter: char| letter.is_ascii_digit()) {
        return Err("Write a network address in full.".to_owned());
    }
    let own = ["localhost", "local", "internal", "localdomain"].contains(&last) || !host.contains('.');
    if own && !loopback {
        return Err("The host is not one of the public Internet.".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let policy = UrlPolicy::default();
        let read = |text| policy.read(text).unwrap();
        let plain = read("https://Hooks.Example.com/in?x=1");
        assert_eq!((plain.tls, plain.host.as_str(), plain.port), (true, "hooks.example.com", 443));
        assert_eq!(plain.path, "/in?x=1");
        assert_eq!(read("https://example.com:8443").path, "/");
        assert_eq!(read("https://example.com?x").path, "/?x");
        assert_eq!(read("https://[2606:4700::1111]/").host, "2606:4700::1111");
        let demo = UrlPolicy { loopback: true, ..UrlPolicy::default() };
        let local = demo.read("http://127.0.0.1:9000/hook").unwrap();
        assert_eq!((local.tls, local.authority.as_str(), local.port), (false, "127.0.0.1:9000", 9000));
    }

    #[test]
    fn what_could_lead_inside_is_refused() {
        for text in [
            "",
            "example.com",
            "http://example.com/",
            "ftp://example.com/",
            "HTTPS://example.com/",
            "https://",
            "https:///x",
            "https://user:pass@example.com/",
            "https://example.com@127.0.0.1/",
            "https://example.com\\@127.0.0.1/",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[fe80::1%25eth0]/",
            "https://[::1/",
            "https://10.0.0.1:443/",
            "https://localhost/",
            "https://LOCALHOST/",
            "https://a.localhost/",
            "https://metadata.google.internal/",
            "https://printer.local/",
            "https://intranet/",
            "https://example.com:22/",
            "https://example.com:99999/",
            "https://example.com:/",
            "https://exa mple.com/",
            "https://example.com/\r\nx: y",
            "https://exämple.com/",
            "https://example.com/#x",
            "https://.example.com/",
            "https://example..com/",
            "https://example.com./",
        ] {
            assert!(UrlPolicy::default().read(text).is_err(), "{text}");
        }
        let demo = UrlPolicy { loopback: true, ..UrlPolicy::default() };
        for text in
            ["http://10.0.0.1/", "http://169.254.169.254/", "http://[fd00::1]/", "http://u@127.0.0.1/"]
        {
            assert!(demo.read(text).is_err(), "{text}");
        }
    }
}
