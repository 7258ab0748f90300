// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0 drives a network card: a file comes and goes over TCP unharmed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use super::{Scenario, Selection, Stage};
use crate::apt::sha256;
use crate::error::{Context, Result, fail};
use crate::machine::{Gic, Kernel, Machine, Payload};
use crate::noise::noise;
use crate::workspace::write_whole;

const SIZE: usize = 4 << 20;
const TRANSFER: Duration = Duration::from_secs(120);

pub(super) fn scenarios() -> Vec<Scenario> {
    let case = |name, selection, card, gic, kernel| {
        Scenario::new(name, selection, move |stage| {
            let mut machine = Machine {
                gic,
                payload: Payload::Linux(kernel),
                cpus: 2,
                ..stage.machine()
            };
            machine.attach("-netdev", "user,id=net,restrict=off");
            machine.attach("-device", &format!("{card},netdev=net,romfile="));
            fetches_and_sends(stage, &machine)
        })
    };
    use Selection::{Full, Short};
    const VIRTIO: &str = "virtio-net-pci";
    const E1000E: &str = "e1000e";
    vec![
        case("network/virtio-gic3", Short, VIRTIO, Gic::V3, Kernel::V6_1),
        case("network/virtio-gic2", Full, VIRTIO, Gic::V2, Kernel::V6_12),
        case("network/e1000e-gic3", Full, E1000E, Gic::V3, Kernel::V6_12),
        case("network/e1000e-gic2", Short, E1000E, Gic::V2, Kernel::V6_12),
    ]
}

/// `machine` has one card, on QEMU's own network.
pub(super) fn fetches_and_sends(stage: &Stage, machine: &Machine) -> Result<()> {
    let content = noise(11, SIZE);
    let file = stage.file(".bin");
    write_whole(&file, &content)?;
    let expected = sha256(&file)?;
    let (port, uploads) = serve(content.clone())?;

    let mut dom0 = stage.boot(machine)?;
    dom0.run("for i in $(seq 100); do [ -d /sys/class/net/eth0 ] && break; usleep 100000; done")?;
    dom0.run("ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up")?;
    // The link of an emulated e1000e takes seconds to come up.
    dom0.run("for i in $(seq 30); do ping -c 1 -W 1 10.0.2.2 >/dev/null && break; done")?;

    let url = format!("http://10.0.2.2:{port}/");
    dom0.run_within(&format!("wget -q -O /tmp/file {url}"), TRANSFER)?;
    let sum = dom0.run("sha256sum /tmp/file")?;
    if !sum.starts_with(&expected) {
        let message = format!("dom0 received {sum}, sent was {expected}");
        return Err(dom0.console.failure(&message));
    }
    // busybox's wget posts text alone.
    let head = format!("POST / HTTP/1.0\\r\\nContent-Length: {SIZE}\\r\\n\\r\\n");
    let post = format!("(printf '{head}'; cat /tmp/file) | nc 10.0.2.2 {port} >/dev/null");
    dom0.run_within(&post, TRANSFER)?;
    match uploads.try_recv() {
        Ok(body) if body == content => dom0.power_off(),
        Ok(body) => fail(format!(
            "what dom0 sent arrived changed ({} of {SIZE} bytes)",
            body.len()
        )),
        Err(_) => fail("dom0's upload did not arrive"),
    }
}

/// A web server on the loopback interface: answers GET with `content`, passes on what is POSTed.
fn serve(content: Vec<u8>) -> Result<(u16, Receiver<Vec<u8>>)> {
    let doing = || "opening a TCP port on 127.0.0.1".to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").context(doing)?;
    let port = listener.local_addr().context(doing)?.port();
    let (uploads, received) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A broken connection shows in dom0, where it is judged.
            let _ = answer(&stream, &content, &uploads);
        }
    });
    Ok((port, received))
}

fn answer(stream: &TcpStream, content: &[u8], uploads: &Sender<Vec<u8>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let body = if request.starts_with("POST") {
        let mut upload = vec![0; length.min(SIZE * 2)];
        reader.read_exact(&mut upload)?;
        let _ = uploads.send(upload);
        &[]
    } else {
        content
    };
    let mut stream = stream;
    let size = body.len();
    let head =
        format!("HTTP/1.0 200 OK\r\nContent-Length: {size}\r\nContent-Type: text/plain\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}
