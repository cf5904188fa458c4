//! The examples of the client library run as they are.

use std::path::Path;
use std::process::Command;

use crate::cube::Cube;

#[test]
fn each_example_publishes_reads_and_subscribes() {
    let cube = Cube::start(1);
    let target = Path::new(env!("CARGO_BIN_EXE_dht-node")).ancestors().nth(2).unwrap();
    // Both use the same topic: the second one also reads what the first one has published.
    for (example, first, stored) in [
        ("blocking", "the topic was created", "stored from offset 0 on"),
        ("asynchronous", "the topic exists", "stored at offset 6"),
    ] {
        let mut command = Command::new(env!("CARGO"));
        command.args(["run", "--quiet", "-p", "dht-client", "--all-features", "--example", example, "--target-dir"]);
        let output = command.arg(target).arg("--").arg(cube.address(1).to_string()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{example}: {text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.starts_with(first) && text.contains(stored), "{example}: {text}");
        assert!(text.contains("0: sunny\n1: cloudy\n2: rainy\n3: a storm\n"), "{example}: {text}");
    }
}
