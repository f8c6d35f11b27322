//! What a real exporter shows.

use std::io::{Read, Write};
use std::net::TcpStream;

use relatum_model::Labels;
use relatum_model::exposition::{Entry, Format, labels_of, parse};

/// What the exporter at `address` shows now.
pub(crate) fn scrape(address: &str) -> Vec<(Labels, f64)> {
    let mut stream = TcpStream::connect(address).expect("the exporter listens");
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").expect("it takes requests");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers in text");
    let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let samples = parse(body.as_bytes(), Format::Text).expect("it shows text").filter_map(|entry| {
        let Entry::Sample(sample) = entry.expect("it shows metrics") else { return None };
        Some((labels_of(sample.series, sample.kind).expect("its series have labels"), sample.value))
    });
    samples.collect()
}
