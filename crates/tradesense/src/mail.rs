//! How this installation sends mail, and who tells it of mails that came back.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use app::notifications::BounceKey;
use clap::Args;
use providers::mail::{Security, SmtpSettings};

/// A mail that is not handed over within this time is tried again.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Settings of mail.
#[derive(Debug, Clone, Default, Args)]
pub struct MailArgs {
    /// The mail server: `smtps://USER:PASSWORD@HOST` (TLS), `smtp://..` (STARTTLS), `smtp+plain://HOST:PORT` (on this machine).
    #[arg(long, env = "TRADESENSE_SMTP_URL", hide_env_values = true)]
    smtp_url: Option<String>,
    /// The address that mails come from.
    #[arg(long, env = "TRADESENSE_MAIL_FROM", requires = "smtp_url")]
    mail_from: Option<String>,
    /// Where the mail provider reports bounces, `/v1/mail/bounces/TOKEN`, and what it signs them with: `TOKEN:SECRET`.
    #[arg(long, env = "TRADESENSE_BOUNCE_KEY", hide_env_values = true)]
    bounce_key: Option<String>,
    /// Where people reach this installation, for links in mails, such as `https://app.example.com`.
    #[arg(long, env = "TRADESENSE_PUBLIC_URL")]
    public_url: Option<String>,
}

impl MailArgs {
    /// The server, if there is one.
    pub fn smtp(&self) -> anyhow::Result<Option<SmtpSettings>> {
        let Some(url) = &self.smtp_url else { return Ok(None) };
        let from = self.mail_from.clone().context("--smtp-url needs --mail-from")?;
        smtp(url, from).map(Some)
    }

    /// Who may report bounces, if anybody.
    pub fn bounce_key(&self) -> anyhow::Result<Option<BounceKey>> {
        let Some(key) = &self.bounce_key else { return Ok(None) };
        let (token, secret) = key.split_once(':').context("the key of bounces is TOKEN:SECRET")?;
        let key = BounceKey::new(token, secret);
        Ok(Some(key.context("token and secret of bounces have at least 16 characters each")?))
    }

    /// For links in mails, unless a firm has a host name of its own.
    pub fn public_url(&self, otherwise: impl FnOnce() -> String) -> String {
        self.public_url.clone().unwrap_or_else(otherwise)
    }
}

fn smtp(url: &str, from: String) -> anyhow::Result<SmtpSettings> {
    // Says nothing of the URL itself: it holds a password.
    let (scheme, rest) = url.split_once("://").context("the URL of the mail server has no scheme")?;
    let (security, usual) = match scheme {
        "smtps" => (Security::Tls, 465),
        "smtp" => (Security::StartTls, 587),
        "smtp+plain" => (Security::Plain, 25),
        _ => bail!("the URL of the mail server begins with smtps://, smtp:// or smtp+plain://"),
    };
    let (login, host) = match rest.rsplit_once('@') {
        Some((login, host)) => {
            let (user, password) =
                login.split_once(':').context("the login of the mail server is USER:PASSWORD")?;
            (Some((user.to_owned(), password.to_owned())), host)
        }
        None => (None, rest),
    };
    let host = host.trim_end_matches('/');
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().context("the port of the mail server is no number")?),
        None => (host, usual),
    };
    ensure!(!host.is_empty(), "the URL of the mail server names no host");
    Ok(SmtpSettings { host: host.to_owned(), port, security, login, from, timeout: TIMEOUT })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_server_is_named_by_its_url() {
        let read = |url: &str| smtp(url, "desk@one.example".to_owned());
        let tls = read("smtps://me:a@b:c@mail.example").unwrap();
        assert_eq!((tls.host.as_str(), tls.port), ("mail.example", 465));
        assert_eq!(tls.login, Some(("me".to_owned(), "a@b:c".to_owned())));
        let plain = read("smtp+plain://127.0.0.1:2525/").unwrap();
        assert_eq!((plain.host.as_str(), plain.port, plain.login), ("127.0.0.1", 2525, None));
        for wrong in
            ["mail.example", "http://mail.example", "smtp://", "smtp://me@mail.example", "smtp://h:x"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
