//! Notifications, choices, mails and webhooks over HTTP, as a browser, a mail program and a firm's own system meet them.

use crate::common::{PLAIN, Stage, program};
use app::Role;
use app::notifications::{Group, Mailer as _};
use kernel::{MailId, PersonId};
use serde_json::{Value, json};

fn text<'a>(value: &'a Value, place: &str) -> &'a str {
    value.pointer(place).and_then(Value::as_str).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_choose_and_unsubscribe() {
    let stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let trader = stage.trader("ann").await;
    let (status, inbox) = trader.get("/v1/notifications").await;
    assert_eq!(status, 200);
    assert_eq!(inbox, json!({ "items": [], "next_cursor": null, "unread": 0 }));

    let put = |body: Value| {
        let request = trader.http.put(format!("{}/v1/notifications/preferences", trader.base)).json(&body);
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        }
    };
    let never = json!({ "items": [{ "group": "results", "in_app": false, "mail": true }] });
    let (status, refused) = put(never).await;
    assert_eq!((status, text(&refused, "/errors/0/pointer")), (422, "/items/0/in_app"));
    let quiet = json!({ "items": [{ "group": "purchases", "in_app": false, "mail": false }] });
    let (status, kept) = put(quiet).await;
    assert_eq!(status, 200);
    let items = kept.pointer("/items").and_then(Value::as_array).unwrap();
    assert_eq!(items.len(), Group::ALL.len());
    let purchases = items.iter().find(|item| text(item, "/group") == "purchases").unwrap();
    assert_eq!(purchases.pointer("/mail"), Some(&Value::Bool(false)));

    // The link of a mail: looking at it changes nothing, one POST without a session does.
    let me = trader.get("/v1/me").await.1;
    let person: PersonId = text(&me, "/id").parse().unwrap();
    let notifications = &stage.platform.web.notifications;
    let token = notifications.unsubscribe_token(stage.firm, person, Group::Warnings).await.unwrap();
    let visitor = stage.visitor();
    let url = format!("{}/v1/unsubscribe/{token}", visitor.base);
    let answer = visitor.http.get(&url).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 303);
    assert_eq!(answer.headers().get("location").unwrap(), &format!("/unsubscribe/{token}"));
    let mail_of_warnings = || async {
        let preferences = trader.get("/v1/notifications/preferences").await.1;
        let items = preferences.pointer("/items").and_then(Value::as_array).unwrap().clone();
        let warnings = items.into_iter().find(|item| text(item, "/group") == "warnings").unwrap();
        warnings.pointer("/mail").and_then(Value::as_bool).unwrap()
    };
    assert!(mail_of_warnings().await);
    let click = visitor.http.post(&url).header("content-type", "application/x-www-form-urlencoded");
    let answer = click.body("List-Unsubscribe=One-Click").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(text(&answer.json().await.unwrap(), "/group"), "warnings");
    assert!(!mail_of_warnings().await);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_a_webhook_is_told_once() {
    let stage = Stage::open(&[]).await;
    let admin = stage.staff("admin@example.com", Role::Admin).await;
    let new = json!({ "url": "https://10.0.0.1/", "topics": ["account"] });
    let (status, refused) = admin.post("/v1/webhooks", None, &new).await;
    assert_eq!(status, 422);
    assert_eq!(text(&refused, "/errors/0/pointer"), "/url", "{refused}");
    assert_eq!(text(&refused, "/errors/1/pointer"), "/topics/0", "{refused}");

    let new = json!({ "url": "https://hooks.example.com/in", "topics": ["account.*"] });
    let (status, added) = admin.post("/v1/webhooks", None, &new).await;
    let secret = text(&added, "/secret").to_owned();
    assert!(status == 201 && secret.starts_with("whsec_"), "{added}");
    let path = format!("/v1/webhooks/{}", text(&added, "/webhook/id"));
    for read in [admin.get("/v1/webhooks").await, admin.get(&path).await] {
        assert!(read.0 == 200 && !read.1.to_string().contains("whsec_"), "{read:?}");
    }
    let (status, rotated) = admin.post(&format!("{path}/rotate-secret"), None, &json!({})).await;
    assert_eq!(status, 200);
    assert_ne!(text(&rotated, "/secret"), secret);
    assert_eq!(text(&admin.get(&path).await.1, "/older_secret_until"), text(&rotated, "/older_secret_until"));

    let (_, sent) = admin.post(&format!("{path}/test"), None, &json!({})).await;
    let (status, detail) = admin.get(&format!("{path}/deliveries/{}", text(&sent, "/delivery_id"))).await;
    assert_eq!((status, text(&detail, "/delivery/state")), (200, "waiting"));
    let body: Value = serde_json::from_str(text(&detail, "/body")).unwrap();
    assert_eq!(text(&body, "/type"), "webhook.test");
    let waiting = admin.get(&format!("{path}/deliveries?state=waiting")).await.1;
    assert_eq!(waiting.pointer("/items").and_then(Value::as_array).map(Vec::len), Some(1));
    assert_eq!(admin.get(&format!("{path}/deliveries?state=lost")).await.0, 422);

    let (status, disabled) = admin.patch(&path, "off", &json!({ "active": false })).await;
    assert_eq!((status, text(&disabled, "/disabled_because")), (200, "by_hand"));
    let (status, refused) = admin.post(&format!("{path}/test"), None, &json!({})).await;
    assert_eq!((status, text(&refused, "/code")), (409, "webhook_disabled"));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demonstration_shows_the_mails_of_its_firm() {
    let stage = Stage::open(&[]).await;
    let visitor = stage.visitor();
    let page = |path: String| {
        let request = visitor.http.get(format!("{}{path}", visitor.base));
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        }
    };
    let Some(mailbox) = stage.platform.web.mailbox.clone() else {
        assert_eq!(page("/sandbox/mail".to_owned()).await.0, 404);
        stage.close().await;
        return;
    };
    let letter = |firm, name: &str| app::notifications::Letter {
        id: MailId::derived(&[name.as_bytes()]),
        firm,
        host: "firm.example".to_owned(),
        from_name: "Firm".to_owned(),
        to: "ann@example.com".to_owned(),
        to_name: "Ann".to_owned(),
        subject: format!("<b>{name}</b>"),
        text: "text part".to_owned(),
        html: "<p>html part</p>".to_owned(),
        unsubscribe: "https://firm.example/u".to_owned(),
    };
    mailbox.send(&letter(stage.firm, "ours")).await.unwrap();
    mailbox.send(&letter(stage.firm, "ours")).await.unwrap();
    mailbox.send(&letter(kernel::FirmId::derived(&[b"other"]), "theirs")).await.unwrap();
    let (status, list) = page("/sandbox/mail".to_owned()).await;
    assert_eq!(status, 200);
    assert_eq!(list.matches("&lt;b&gt;ours&lt;/b&gt;").count(), 1, "{list}");
    assert!(!list.contains("theirs"), "{list}");
    let (ours, theirs) = (MailId::derived(&[b"ours"]), MailId::derived(&[b"theirs"]));
    for (part, words) in [("", "List-Unsubscribe"), ("/text", "text part"), ("/html", "html part")] {
        let (status, shown) = page(format!("/sandbox/mail/{ours}{part}")).await;
        assert!(status == 200 && shown.contains(words), "{part}: {shown}");
        assert_eq!(page(format!("/sandbox/mail/{theirs}{part}")).await.0, 404);
    }
    stage.close().await;
}
