//! Where copies are, as an operator says it: a folder, or `s3://BUCKET/PREFIX?region=..`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use app::auditing::Copies;
use kernel::{Clock, Rng};
use rusty_s3::{Credentials, UrlStyle};
use tokio::time::timeout;
use url::Url;

use super::{Bucket, Failure, Folder};

/// Nobody's start waits longer for a bucket.
const START: Duration = Duration::from_secs(10);

/// Where copies are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder.
    Folder(PathBuf),
    /// A bucket.
    Bucket(Address),
}

/// A bucket and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) bucket: rusty_s3::Bucket,
    /// Nothing, or something that ends with a slash.
    pub(super) prefix: String,
    /// Whether what is written must be kept under Object Lock.
    pub(super) locked: bool,
    /// A file with the key; without one that of the environment counts.
    pub(super) credentials: Option<PathBuf>,
}

/// Why a text names no place. Says nothing of the text itself, which may hold what is secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPlace(String);

/// What a bucket needs beside its address.
#[derive(Clone)]
pub struct Means {
    /// The key of the environment, if there is one.
    pub credentials: Option<Credentials>,
    /// Dates requests, and how long objects are kept.
    pub clock: Arc<dyn Clock>,
    /// Spreads attempts.
    pub rng: Arc<dyn Rng>,
}

impl fmt::Debug for Means {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Means").finish_non_exhaustive()
    }
}

impl Place {
    /// For whoever only reads.
    pub fn reader(&self, means: Means) -> Result<Arc<dyn Copies>, Failure> {
        Ok(match self {
            Self::Folder(directory) => Arc::new(Folder::new(directory)),
            Self::Bucket(address) => Arc::new(Bucket::new(address, means)?),
        })
    }

    /// For whoever writes. A bucket is asked whether it keeps what it is given, and is refused if it does not; one that does not
    /// answer is asked again before anything is written.
    pub async fn writer(&self, means: Means) -> Result<Arc<dyn Copies>, Failure> {
        let Self::Bucket(address) = self else { return self.reader(means) };
        let bucket = Bucket::new(address, means)?;
        match timeout(START, bucket.check()).await {
            Ok(Err(failure)) if !failure.may_pass() => return Err(failure),
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => tracing::warn!(
                bucket = address.to_string(),
                "the bucket for copies of the audit log does not answer yet; going on"
            ),
        }
        Ok(Arc::new(bucket))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(directory) => directory.display().fmt(formatter),
            Self::Bucket(address) => address.fmt(formatter),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "s3://{}/{}", self.bucket.name(), self.prefix)
    }
}

impl FromStr for Place {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        match text.split_once("://") {
            Some(("s3", _)) => text.parse().map(Self::Bucket),
            Some(_) => Err(bad("copies go to a folder or to s3://BUCKET/PREFIX")),
            None if text.is_empty() => Err(bad("no place for copies is named")),
            None => Ok(Self::Folder(PathBuf::from(text))),
        }
    }
}

impl FromStr for Address {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let url =
            Url::parse(text).map_err(|error| bad(&format!("this is no address of a bucket: {error}")))?;
        if url.scheme() != "s3" {
            return Err(bad("the address of a bucket begins with s3://"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.port().is_some() {
            return Err(bad(
                "the address of a bucket holds no key and no port: name a file (credentials=FILE) or set \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and name another server by endpoint=URL",
            ));
        }
        let name = url.host_str().unwrap_or_default().to_owned();
        let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        if !(3..=63).contains(&name.len()) || !name.bytes().all(of_name) {
            return Err(bad("the name of a bucket is 3 to 63 lower-case letters, digits, points and dashes"));
        }
        let mut prefix = url.path().trim_matches('/').to_owned();
        let of_prefix = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
        if !prefix.bytes().all(of_prefix) || prefix.contains("//") {
            return Err(bad("the prefix in a bucket is of letters, digits and / . _ -"));
        }
        if !prefix.is_empty() {
            prefix.push('/');
        }
        let (mut region, mut endpoint, mut style) = (None, None, None);
        let (mut locked, mut credentials) = (true, None);
        for (word, value) in url.query_pairs() {
            match (&*word, &*value) {
                ("region", region_name) => region = Some(region_name.to_owned()),
                ("endpoint", server) => endpoint = Some(server.to_owned()),
                ("style", "path") => style = Some(UrlStyle::Path),
                ("style", "virtual") => style = Some(UrlStyle::VirtualHost),
                ("object-lock", "on") => locked = true,
                ("object-lock", "off") => locked = false,
                ("credentials", file) => credentials = Some(PathBuf::from(file)),
                _ => {
                    return Err(bad(
                        "behind the ? stand region=, endpoint=URL, style=path or style=virtual, \
                         credentials=FILE and object-lock=off, each joined by &",
                    ));
                }
            }
        }
        let is_aws = endpoint.is_none();
        let (region, endpoint) = match (region, endpoint) {
            (Some(region), Some(endpoint)) => (region, endpoint),
            (Some(region), None) => {
                let endpoint = format!("https://s3.{region}.amazonaws.com");
                (region, endpoint)
            }
            // What other servers take for granted.
            (None, Some(endpoint)) => ("us-east-1".to_owned(), endpoint),
            (None, None) => return Err(bad("name the bucket's region (region=) or its server (endpoint=)")),
        };
        let endpoint = Url::parse(&endpoint).map_err(|error| bad(&format!("endpoint is no URL: {error}")))?;
        if !endpoint.username().is_empty() || endpoint.password().is_some() || endpoint.query().is_some() {
            return Err(bad("endpoint is a URL without a login and without a ?"));
        }
        // A certificate of Amazon's covers one label before its own name.
        let usual = if is_aws && !name.contains('.') { UrlStyle::VirtualHost } else { UrlStyle::Path };
        let bucket = rusty_s3::Bucket::new(endpoint, style.unwrap_or(usual), name, region);
        let bucket = bucket.map_err(|error| bad(&format!("this bucket has no address: {error}")))?;
        Ok(Self { bucket, prefix, locked, credentials })
    }
}

fn bad(say: &str) -> BadPlace {
    BadPlace(say.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<Address, String> {
        text.parse().map_err(|error: BadPlace| error.to_string())
    }

    fn tile(text: &str) -> String {
        let Address { bucket, prefix, .. } = address(text).unwrap();
        bucket.object_url(&format!("{prefix}tile/0/x001/067.p/3")).to_string()
    }

    #[test]
    fn a_bucket_is_reached_by_its_host_at_amazon_and_by_its_path_elsewhere() {
        for (text, url) in [
            ("s3://acme-audit/eu?region=eu-central-1", "https://acme-audit.s3.eu-central-1.amazonaws.com/eu"),
            ("s3://acme.audit/eu/?region=us-east-1", "https://s3.us-east-1.amazonaws.com/acme.audit/eu"),
            ("s3://acme-audit/?region=eu-west-1&style=path", "https://s3.eu-west-1.amazonaws.com/acme-audit"),
            ("s3://acme-audit/a/b?endpoint=http://minio:9000", "http://minio:9000/acme-audit/a/b"),
            ("s3://acme-audit?endpoint=https://s3.example&style=virtual", "https://acme-audit.s3.example"),
            ("s3://acme-audit?endpoint=http%3A%2F%2F[%3A%3A1]%3A9000", "http://[::1]:9000/acme-audit"),
        ] {
            assert_eq!(tile(text), format!("{url}/tile/0/x001/067.p/3"), "{text}");
        }
    }

    #[test]
    fn what_is_not_said_is_safe() {
        let plain = address("s3://acme-audit?endpoint=https://s3.example").unwrap();
        assert_eq!((plain.locked, plain.credentials, plain.bucket.region()), (true, None, "us-east-1"));
        let said = "s3://acme-audit/x?region=eu-west-1&object-lock=off&credentials=/run/secrets/s3";
        let said: Place = said.parse().unwrap();
        assert_eq!(said.to_string(), "s3://acme-audit/x/");
        let Place::Bucket(said) = said else { panic!("{said} is a bucket") };
        assert_eq!((said.locked, said.credentials), (false, Some(PathBuf::from("/run/secrets/s3"))));
    }

    #[test]
    fn a_folder_is_what_has_no_scheme() {
        for folder in ["copies", "/srv/audit copies", "s3", "C:\\copies"] {
            assert_eq!(folder.parse(), Ok(Place::Folder(PathBuf::from(folder))));
        }
        for nothing in ["", "file:///srv/copies", "http://s3.example/acme-audit"] {
            assert!(nothing.parse::<Place>().is_err(), "{nothing}");
        }
    }

    #[test]
    fn a_bad_address_is_refused_and_what_may_be_secret_is_not_repeated() {
        for (text, say) in [
            ("s3://AKIA:hush@acme-audit?region=eu-west-1", "holds no key"),
            ("s3://acme-audit?region=eu-west-1&secret=hush", "behind the ?"),
            ("s3://acme-audit?region=eu-west-1&style=hush", "behind the ?"),
            ("s3://acme-audit?region=eu-west-1&object-lock=no", "behind the ?"),
            ("s3://acme-audit?endpoint=https://me:hush@s3.example", "without a login"),
            ("s3://acme-audit?endpoint=hush", "endpoint is no URL"),
            ("s3://acme-audit?endpoint=ftp://s3.example", "no address"),
            ("s3://acme-audit?endpoint=http://127.0.0.1:9000&style=virtual", "no address"),
            ("s3://acme-audit", "region"),
            ("s3://ab?region=eu-west-1", "3 to 63"),
            ("s3://Acme?region=eu-west-1", "3 to 63"),
            ("s3:///audit?region=eu-west-1", "3 to 63"),
            ("s3://acme-audit/a%20b?region=eu-west-1", "prefix"),
            ("s3://acme-audit/a//b?region=eu-west-1", "prefix"),
        ] {
            let said = address(text).unwrap_err();
            assert!(said.contains(say) && !said.contains("hush"), "{text}: {said}");
        }
    }
}
