//! From a message to a mail in a mailbox and a request at a receiver, by the real runner.
#![expect(clippy::panic, reason = "a test that cannot go on stops")]

use std::sync::Arc;
use std::time::Duration;

use app::events::{Consumer as _, Message};
use app::jobs::JobHandler;
use app::notifications::{MAIL_QUEUE, Notifications};
use app::webhooks::{Deliverer, NewEndpoint, QUEUE, UrlPolicy, Webhooks};
use kernel::{Clock as _, OwnerId};
use providers::mail::{Security, Smtp, SmtpSettings};
use providers::webhooks::{Limits, RootCertStore, SystemLookup, WebhookClient};
use serde_json::json;
use testkit::receiver::{Receiver, Reply};
use testkit::smtp::SmtpSink;
use testkit::{World, program};
use tokio::sync::watch;
use workers::notifications::{Forget, Notifier, SendMail, forgetting};
use workers::runner::{Runner, RunnerSettings};
use workers::webhooks::{Deliver, WebhookTaker};

/// Polls until something is there, as a person would look.
async fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    for _ in 0..500 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} did not come");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_is_told_to_its_buyer_and_to_the_firms_systems() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let trader = world.person(firm, "trader@one.example").await;
    let admin = world.context_of(firm, &world.admin(firm, "ada").await);
    world.publish(firm, "two-step", program("Two-step")).await;
    let _challenge = world.challenge(firm, &trader, "two-step").await;
    let purchase = world.purchases.list(&world.context_of(firm, &trader), None, 10).await.unwrap().remove(0);

    let (sink, receiver) = (SmtpSink::open().await, Receiver::open().await);
    let (clock, rng, store) = (world.clock.clone(), world.rng.clone(), world.store.clone());
    let urls = UrlPolicy { loopback: true, ..UrlPolicy::default() };
    let webhooks = Arc::new(Webhooks::new(store.clone(), clock.clone(), rng.clone(), urls.clone()));
    let topics = vec!["purchase.*".to_owned()];
    let new = NewEndpoint { url: receiver.url(), description: String::new(), topics };
    let (endpoint, _secret) = webhooks.add(&admin, new).await.unwrap();

    let notifications = Arc::new(Notifications::new(store.clone(), clock.clone(), rng.clone(), None));
    let smtp = SmtpSettings {
        host: sink.address.ip().to_string(),
        port: sink.address.port(),
        security: Security::Plain,
        login: None,
        from: "desk@one.example".to_owned(),
        timeout: Duration::from_secs(5),
    };
    let smtp = Arc::new(Smtp::new(&smtp, clock.clone()).unwrap());
    let otherwise = "http://127.0.0.1:8000".to_owned();
    let send = SendMail::new(store.clone(), notifications.clone(), smtp, clock.clone(), otherwise);
    let (lookup, roots) = (Arc::new(SystemLookup), RootCertStore::empty());
    let client = WebhookClient::with(urls, clock.clone(), lookup, Limits::default(), roots).unwrap();
    let deliverer = Deliverer::new(store.clone(), Arc::new(client), clock.clone(), rng.clone());
    let forget = Forget { notifications, webhooks: webhooks.clone() };
    assert_eq!(forgetting().unwrap().name(), "forget-notes");
    let handlers: Vec<Arc<dyn JobHandler>> =
        vec![Arc::new(send), Arc::new(Deliver::new(deliverer)), Arc::new(forget)];
    let owner = OwnerId::random(clock.now(), &*rng);
    let queues = vec![(MAIL_QUEUE.to_owned(), 2), (QUEUE.to_owned(), 2)];
    let runner = Arc::new(Runner::new(
        store.clone(),
        clock.clone(),
        owner,
        RunnerSettings::default(),
        queues,
        handlers,
    ));
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(runner.run(stopped));

    // Both groups take the message; its receiver fails at first.
    receiver.reply(Reply::status(500));
    let message = Message {
        id: 1_000_000,
        firm,
        at: clock.now(),
        aggregate: format!("purchase:{}", purchase.id),
        topic: "purchase.paid".to_owned(),
        version: 1,
        payload: json!({ "state": "paid" }),
        trace: None,
    };
    let messages = std::slice::from_ref(&message);
    Notifier::new(store.clone(), clock.clone()).take(firm, messages).await.unwrap();
    WebhookTaker::new(store.clone(), clock.clone()).take(firm, messages).await.unwrap();

    let mail = until("the mail", || sink.taken().pop()).await;
    assert_eq!(mail.to, trader.email);
    assert!(mail.header("Subject").unwrap().contains("Two-step is paid"), "{:?}", mail.header("Subject"));
    until("the first attempt", || receiver.sent().pop()).await;
    receiver.reply(Reply::status(200));
    // Once what came of it is written, the clock moves to the next attempt.
    let mut next_at = None;
    for _ in 0..500 {
        let page = webhooks.deliveries(&admin, endpoint.id, None, None, 9).await.unwrap();
        next_at = page.items.first().filter(|delivery| delivery.attempts == 1).and_then(|it| it.next_at);
        if next_at.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    clock.set(next_at.unwrap());
    let posted = until("the second attempt", || Some(receiver.sent()).filter(|sent| sent.len() == 2)).await;
    let ids: Vec<_> = posted.iter().map(|one| one.header("webhook-id").to_owned()).collect();
    assert_eq!(ids.first(), ids.last());
    stop.send_replace(true);
    running.await.unwrap();
    assert_eq!((sink.taken().len(), receiver.sent().len()), (1, 2));
}
