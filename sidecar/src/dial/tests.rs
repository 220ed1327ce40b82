use std::time::Duration;

use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use std::net::SocketAddr;

use super::*;
use crate::forward::test_meter;
use crate::telemetry::metrics::Metrics;

fn application(addresses: Vec<SocketAddr>) -> Application {
    let targets = addresses.into_iter().map(Target::Tcp).collect();
    let metrics = Arc::new(Metrics::new().of_listener("test"));
    Application::new(targets, (TaskTracker::new(), Arc::new(Semaphore::new(10))), metrics)
}

/// Answers every request with 204, and closes a connection after `most` of them.
async fn server(most: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    TaskTracker::new().spawn(async move {
        let connections = TaskTracker::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer(stream, most));
        }
    });
    address
}

async fn answer(mut stream: TcpStream, most: usize) {
    let mut head = [0; 1024];
    for _ in 0..most {
        if stream.read(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    }
}

async fn ask(sender: &mut Http1) {
    let request =
        Request::builder().header("host", "test").body(RequestBody::none(test_meter())).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
}

/// Waits until what hyper still has to do on other tasks is done.
async fn settle() {
    sleep(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn the_connection_used_last_is_used_first() {
    let application = application(vec![server(100).await]);
    let mut first = application.connect_http1().await.unwrap();
    let mut second = application.connect_http1().await.unwrap();
    ask(&mut first).await;
    ask(&mut second).await;
    settle().await;
    application.give_back(first);
    application.give_back(second);
    assert!(application.take().is_some());
    assert!(application.take().is_some());
    assert!(application.take().is_none());
}

#[tokio::test]
async fn a_connection_that_the_application_closed_is_not_used() {
    let application = application(vec![server(1).await]);
    let mut sender = application.connect_http1().await.unwrap();
    ask(&mut sender).await;
    application.give_back(sender);
    settle().await;
    assert!(application.take().is_none());
}

#[tokio::test]
async fn a_connection_does_not_lie_idle_for_long() {
    let application = application(vec![server(100).await]);
    let mut sender = application.connect_http1().await.unwrap();
    ask(&mut sender).await;
    settle().await;
    application.give_back(sender);
    sleep(limits::POOL_IDLE).await;
    assert!(application.take().is_none());
    application.sweep();
    assert!(application.idle.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_addresses_are_tried_in_order_and_the_one_that_answers_is_remembered() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let open = server(100).await;
    let application = application(vec![closed, open]);
    for _ in 0..2 {
        assert_eq!(application.connect().await.unwrap().peer(), Some(open));
        assert_eq!(application.preferred.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn nobody_there_is_an_error_of_its_own() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let application = Arc::new(application(vec![closed]));
    assert!(matches!(application.connect().await, Err(DialError::Refused)));
}
