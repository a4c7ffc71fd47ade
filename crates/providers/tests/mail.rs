//! Mail to a server that takes it, refuses it, or dies.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::sync::Arc;
use std::time::Duration;

use app::notifications::{Letter, MailError, Mailer as _};
use kernel::{FirmId, MailId, ManualClock, Timestamp};
use providers::mail::{Security, Smtp, SmtpSettings};
use testkit::smtp::{Behaviour, SmtpSink};

fn mailer(sink: &SmtpSink, security: Security) -> Smtp {
    let settings = SmtpSettings {
        host: sink.address.ip().to_string(),
        port: sink.address.port(),
        security,
        login: None,
        from: "desk@acme.example".to_owned(),
        timeout: Duration::from_millis(500),
    };
    let now = Timestamp::parse("2026-01-05T10:00:00Z").unwrap();
    Smtp::new(&settings, Arc::new(ManualClock::new(now))).unwrap()
}

fn letter() -> Letter {
    Letter {
        id: MailId::derived(&[b"one"]),
        firm: FirmId::derived(&[b"acme"]),
        host: "acme.example".to_owned(),
        from_name: "Acme, \"Funding\"".to_owned(),
        to: "ann@example.com".to_owned(),
        to_name: "Ann Müller".to_owned(),
        subject: "A-3F9C21: Daily loss crossed – the account has ended".to_owned(),
        text: "The floor was 95000.00 USD.\n.\nEnd.".to_owned(),
        html: "<p>The floor was 95000.00 USD.</p>".to_owned(),
        unsubscribe: "https://acme.example/v1/unsubscribe/tok".to_owned(),
    }
}

#[tokio::test]
async fn a_mail_arrives_with_its_headers_and_both_parts() {
    let sink = SmtpSink::open().await;
    let said = mailer(&sink, Security::Plain).send(&letter()).await.unwrap();
    assert!(said.contains("queued as 1"), "{said}");
    let [taken] = sink.taken().try_into().unwrap_or_else(|taken| panic!("{taken:?}"));
    assert_eq!((taken.from.as_str(), taken.to.as_str()), ("desk@acme.example", "ann@example.com"));
    let header = |name| taken.header(name).unwrap_or_default();
    assert_eq!(header("Message-ID"), format!("<{}@acme.example>", MailId::derived(&[b"one"])));
    assert_eq!(header("Date"), "Mon, 05 Jan 2026 10:00:00 +0000");
    assert_eq!(header("List-Unsubscribe"), "<https://acme.example/v1/unsubscribe/tok>");
    assert_eq!(header("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    assert_eq!(header("Auto-Submitted"), "auto-generated");
    assert!(header("From").contains("<desk@acme.example>"), "{}", header("From"));
    assert!(header("Content-Type").starts_with("multipart/alternative"), "{}", header("Content-Type"));
    for part in ["text/plain", "text/html", "95000.00 USD", "End."] {
        assert!(taken.message.contains(part), "{part} in {}", taken.message);
    }
}

#[tokio::test]
async fn a_recipient_that_is_refused_for_good_is_suppressed() {
    let sink = SmtpSink::open().await;
    sink.behave(Behaviour::RefuseRecipient("550 5.1.1 no such user".to_owned()));
    match mailer(&sink, Security::Plain).send(&letter()).await {
        Err(MailError::Refused { say, suppress: true }) => {
            assert!(say.contains("550") && say.contains("no such user"), "{say}");
        }
        other => panic!("{other:?}"),
    }
    assert!(sink.taken().is_empty());
}

#[tokio::test]
async fn a_message_that_is_refused_does_not_suppress_its_recipient() {
    let sink = SmtpSink::open().await;
    for line in ["554 5.7.1 looks like spam", "552 5.3.4 too large", "550 5.7.1 not from you"] {
        sink.behave(Behaviour::RefuseMessage(line.to_owned()));
        match mailer(&sink, Security::Plain).send(&letter()).await {
            Err(MailError::Refused { suppress: false, .. }) => {}
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_may_pass_is_for_later() {
    let sink = SmtpSink::open().await;
    for behaviour in [
        Behaviour::RefuseRecipient("450 4.2.1 busy".to_owned()),
        Behaviour::RefuseRecipient("530 5.7.0 sign in first".to_owned()),
        Behaviour::RefuseMessage("451 4.3.0 disk full".to_owned()),
        Behaviour::Silent,
    ] {
        sink.behave(behaviour.clone());
        match mailer(&sink, Security::Plain).send(&letter()).await {
            Err(MailError::Later(_)) => {}
            other => panic!("{behaviour:?}: {other:?}"),
        }
    }
    let closed = sink.address;
    let mailer = mailer(&sink, Security::Plain);
    drop(sink);
    // The port is free as soon as the server's task has ended.
    while tokio::net::TcpStream::connect(closed).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(mailer.send(&letter()).await, Err(MailError::Later(_))), "nobody listens");
}

#[tokio::test]
async fn a_connection_that_dies_after_the_message_is_tried_again_under_the_same_id() {
    let sink = SmtpSink::open().await;
    sink.behave(Behaviour::DieAfterData);
    let mailer = mailer(&sink, Security::Plain);
    assert!(matches!(mailer.send(&letter()).await, Err(MailError::Later(_))));
    sink.behave(Behaviour::Take);
    mailer.send(&letter()).await.unwrap();
    let ids: Vec<_> = sink.taken().iter().map(|taken| taken.header("Message-ID").unwrap()).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids.first(), ids.last(), "the receiver can tell that it is one mail");
}

#[tokio::test]
async fn nothing_is_sent_in_the_clear_where_tls_is_asked_for() {
    let sink = SmtpSink::open().await;
    for security in [Security::StartTls, Security::Tls] {
        assert!(matches!(mailer(&sink, security).send(&letter()).await, Err(MailError::Later(_))));
    }
    assert!(sink.taken().is_empty());
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_before_anybody_is_asked() {
    let sink = SmtpSink::open().await;
    let letter = Letter { to: "not an address".to_owned(), ..letter() };
    let sent = mailer(&sink, Security::Plain).send(&letter).await;
    assert!(matches!(sent, Err(MailError::Refused { .. })), "{sent:?}");
}
