//! Mail by SMTP.
//!
//! Each mail goes over a connection of its own, under TLS unless the settings say otherwise. What the server answers
//! decides what becomes of it: 2xx is sent; 55x is about this mail and is never tried again; every other failure, also a
//! login that is refused, is ours or passes, and is tried again. If the connection ends after the message was handed over
//! and before the answer, it is sent again under the same Message-ID.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use app::notifications::{Letter, MailError, Mailer};
use async_trait::async_trait;
use kernel::Clock;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::response::Response;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use tokio::time::timeout;

/// How a connection is kept from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte, usually on port 465.
    Tls,
    /// TLS after STARTTLS, usually on port 587; a server without it gets nothing.
    StartTls,
    /// None: for a server on the same machine.
    Plain,
}

/// How to reach the server.
#[derive(Clone)]
pub struct SmtpSettings {
    /// Its name, as its certificate has it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept from others.
    pub security: Security,
    /// User name and password.
    pub login: Option<(String, String)>,
    /// The address that mails come from.
    pub from: String,
    /// For the whole of a mail, from the connection to the answer.
    pub timeout: Duration,
}

impl fmt::Debug for SmtpSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("SmtpSettings");
        shown.field("host", &self.host).field("port", &self.port).field("security", &self.security);
        shown.field("from", &self.from).finish_non_exhaustive()
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MailSettingsError {
    /// The sender is no address.
    #[error("{0:?} is no address to send mail from")]
    From(String),
    /// TLS cannot be set up.
    #[error("setting up TLS to the mail server")]
    Tls(#[source] lettre::transport::smtp::Error),
}

/// Sends mail to one server.
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Address,
    timeout: Duration,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Smtp").finish_non_exhaustive()
    }
}

impl Smtp {
    /// Checks the settings; connects with the first mail.
    pub fn new(settings: &SmtpSettings, clock: Arc<dyn Clock>) -> Result<Self, MailSettingsError> {
        let from = settings.from.parse().map_err(|_| MailSettingsError::From(settings.from.clone()))?;
        let parameters = || TlsParameters::new(settings.host.clone()).map_err(MailSettingsError::Tls);
        let tls = match settings.security {
            Security::Tls => Tls::Wrapper(parameters()?),
            Security::StartTls => Tls::Required(parameters()?),
            Security::Plain => Tls::None,
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
            .port(settings.port)
            .tls(tls);
        if let Some((user, password)) = &settings.login {
            transport = transport.credentials(Credentials::new(user.clone(), password.clone()));
        }
        Ok(Self { transport: transport.build(), from, timeout: settings.timeout, clock })
    }

    fn message(&self, letter: &Letter) -> Result<Message, MailError> {
        let wrong = |say: String| MailError::Refused { say, suppress: false };
        let to: Address =
            letter.to.parse().map_err(|_| wrong("the address cannot be written to".to_owned()))?;
        let since = u64::try_from(self.clock.now().micros()).unwrap_or_default();
        let date = SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(since));
        let raw = |name, value: String| HeaderValue::new(HeaderName::new_from_ascii_str(name), value);
        Message::builder()
            .from(Mailbox::new(Some(letter.from_name.clone()), self.from.clone()))
            .to(Mailbox::new(Some(letter.to_name.clone()), to))
            .subject(letter.subject.clone())
            .message_id(Some(format!("<{}@{}>", letter.id, letter.host)))
            .date(date.unwrap_or(SystemTime::UNIX_EPOCH))
            .raw_header(raw("Auto-Submitted", "auto-generated".to_owned()))
            .raw_header(raw("List-Unsubscribe", format!("<{}>", letter.unsubscribe)))
            .raw_header(raw("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()))
            .multipart(MultiPart::alternative_plain_html(letter.text.clone(), letter.html.clone()))
            .map_err(|error| wrong(format!("the mail cannot be written: {error}")))
    }
}

#[async_trait]
impl Mailer for Smtp {
    async fn send(&self, letter: &Letter) -> Result<String, MailError> {
        let message = self.message(letter)?;
        match timeout(self.timeout, self.transport.send(message)).await {
            Ok(Ok(response)) => Ok(first_line(&response)),
            Ok(Err(error)) => Err(judged(error)),
            Err(late) => Err(MailError::Later(Box::new(late))),
        }
    }
}

fn first_line(response: &Response) -> String {
    format!("{} {}", response.code(), response.first_line().unwrap_or_default())
}

/// What a failure means for the mail.
fn judged(error: lettre::transport::smtp::Error) -> MailError {
    let code = error.status().map(|code| code.to_string()).unwrap_or_default();
    if !code.starts_with("55") {
        return MailError::Later(Box::new(error));
    }
    let say = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
    let suppress = is_about_the_address(&code, &say);
    MailError::Refused { say: format!("{code} {say}"), suppress }
}

/// Whether nobody can be reached under the address. An enhanced code (RFC 3463) says it best; without one it is what RFC
/// 5321 means by the code.
fn is_about_the_address(code: &str, say: &str) -> bool {
    let enhanced = say.split(|letter: char| !(letter.is_ascii_digit() || letter == '.'));
    let enhanced = enhanced.filter(|word| word.starts_with("5.")).find_map(|word| {
        let mut parts = word.split('.').skip(1);
        Some((parts.next()?, parts.next()?))
    });
    match enhanced {
        // Mailbox unknown, domain unknown, syntax, moved, no mail there; mailbox disabled.
        Some(("1", detail)) => ["0", "1", "2", "3", "6", "10"].contains(&detail),
        Some(("2", "1")) => true,
        Some(_) => false,
        None => ["550", "551", "553", "556"].contains(&code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_of_the_address_suppresses_it() {
        for (code, say) in [
            ("550", "5.1.1 No such user here"),
            ("550", "No such user here"),
            ("553", "5.1.3 bad syntax"),
            ("551", "User not local"),
            ("550", "5.2.1 mailbox disabled"),
            ("556", "5.1.10 recipient has null MX"),
        ] {
            assert!(is_about_the_address(code, say), "{code} {say}");
        }
        for (code, say) in [
            ("550", "5.7.1 message looks like spam"),
            ("552", "5.2.2 mailbox full"),
            ("554", "Transaction failed"),
            ("554", "5.7.1 relay access denied"),
            ("550", "5.1.8 sender's domain does not exist"),
            ("550", "5.7.26 unauthenticated mail from 10.1.1.1"),
        ] {
            assert!(!is_about_the_address(code, say), "{code} {say}");
        }
    }
}
