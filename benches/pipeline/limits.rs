//! What the machine can do without us: the bare server, the bare client loop, the bare disk.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// Connections of the client loop, as many as attempts may be under way for one webhook.
const CONNECTIONS: usize = 64;
const PAYLOAD: usize = 1024;

/// A child of this very program.
pub fn child(arguments: &[&str]) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, line.trim().to_owned())
}

/// `--bare-server`: answers 202 to everything, once it has read it.
pub async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    let tasks = tokio_util::task::TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tasks.spawn(async move {
            let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
                drop(request.into_body().collect().await?.to_bytes());
                let body = Bytes::from_static(
                    b"{\"id\":\"evt_01890a5d-ac96-774b-bcce-b302099a8057\",\"deliveries\":1}",
                );
                let mut response = Response::new(Full::new(body));
                *response.status_mut() = StatusCode::ACCEPTED;
                Ok::<_, hyper::Error>(response)
            });
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            drop(served.await);
        });
    }
}

/// `--bare-client ADDRESS CA SECONDS`: posts over TLS as fast as answers come; prints requests and seconds.
pub async fn client_loop(arguments: &[String]) {
    let address: SocketAddr = arguments[0].parse().unwrap();
    let time = Duration::from_secs(arguments[2].parse().unwrap());
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&arguments[1]).unwrap())
        .unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let (started, count) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (connector, count) = (connector.clone(), Arc::clone(&count));
        tasks.spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let name = ServerName::try_from("127.0.0.1").unwrap();
            let stream = connector.connect(name, stream).await.unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .unwrap();
            let connection = tokio_util::task::TaskTracker::new().spawn(connection);
            while started.elapsed() < time {
                let request = Request::post("/hook")
                    .header("host", "127.0.0.1")
                    .header("content-type", "application/json")
                    .header("webhook-id", "evt_01890a5d-ac96-774b-bcce-b302099a8057")
                    .header("webhook-timestamp", "1700000000")
                    .header(
                        "webhook-signature",
                        "v1,0000000000000000000000000000000000000000000=",
                    )
                    .body(Full::new(Bytes::from(vec![b'x'; PAYLOAD])))
                    .unwrap();
                let response = sender.send_request(request).await.unwrap();
                drop(response.into_body().collect().await.unwrap());
                count.fetch_add(1, Ordering::Relaxed);
            }
            drop(sender);
            drop(connection.await);
        });
    }
    while tasks.join_next().await.is_some() {}
    println!(
        "{} {}",
        count.load(Ordering::Relaxed),
        started.elapsed().as_secs_f64()
    );
}

/// Items a second that one thread gathers, appends, syncs and answers to 64 producers.
pub async fn append(time: Duration) -> f64 {
    let directory = tempfile::Builder::new()
        .prefix("bare")
        .tempdir_in(crate::base())
        .unwrap();
    let mut file = std::fs::File::create(directory.path().join("bare")).unwrap();
    let (sender, mut receiver) = mpsc::channel::<oneshot::Sender<()>>(1024);
    let thread = std::thread::spawn(move || {
        let (payload, mut group, mut answers) = ([b'x'; PAYLOAD], Vec::new(), Vec::new());
        while let Some(first) = receiver.blocking_recv() {
            let mut next = Some(first);
            while let Some(answer) = next {
                group.extend_from_slice(&payload);
                answers.push(answer);
                next = receiver.try_recv().ok();
            }
            file.write_all(&group).unwrap();
            file.sync_data().unwrap();
            group.clear();
            for answer in answers.drain(..) {
                answer.send(()).unwrap();
            }
        }
    });
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let sender = sender.clone();
        tasks.spawn(async move {
            let mut items = 0_u64;
            while started.elapsed() < time {
                let (answer, answered) = oneshot::channel();
                sender.send(answer).await.unwrap();
                answered.await.unwrap();
                items += 1;
            }
            items
        });
    }
    let items: u64 = tasks.join_all().await.into_iter().sum();
    let rate = items as f64 / started.elapsed().as_secs_f64();
    drop(sender);
    thread.join().unwrap();
    rate
}

/// Times of single small appends with fdatasync, microseconds: what one sync costs at rest.
pub fn syncs(count: usize) -> Vec<u32> {
    let directory = tempfile::Builder::new()
        .prefix("syncs")
        .tempdir_in(crate::base())
        .unwrap();
    let mut file = std::fs::File::create(directory.path().join("bare")).unwrap();
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let before = Instant::now();
        file.write_all(&[b'x'; PAYLOAD]).unwrap();
        file.sync_data().unwrap();
        times.push(before.elapsed().as_micros() as u32);
        std::thread::sleep(Duration::from_millis(2));
    }
    times
}
