//! What one process leaves, the next one sends.

use super::*;

fn down(_: &pb::WriteRequest) -> Option<Response> {
    Some(answer_with(503, &[], "down"))
}

#[tokio::test]
async fn what_was_not_sent_is_sent_by_the_next_process_in_order_and_only_that() {
    let (receiver, url) = Receiver::start([]).await;
    let first = start(vec![endpoint_of_ones(&url)], true);
    let writer = first.writer("acme");
    write_one(&writer, 1.0);
    first.flush().await;
    receiver.set_rule(down);
    for value in [2.0, 3.0] {
        write_one(&writer, value);
    }
    drop(writer);
    assert_eq!(first.remote_write.flush(Duration::from_secs(60)).await, 2);
    let directory = first.stop().await;

    receiver.set_rule(|_| None);
    receiver.requests.lock().clear();
    let next = start_in(
        directory,
        Clock::system(),
        vec![endpoint_of_ones(&url)],
        true,
    );
    assert!(
        receiver.values().is_empty(),
        "nobody has said where it goes"
    );
    let destinations = next.destinations.clone();
    next.remote_write.resume(|tenant| {
        assert_eq!(tenant.as_str(), "acme");
        destinations.clone()
    });
    next.flush().await;
    assert_eq!(receiver.values(), [2.0, 3.0]);
    assert_eq!(receiver.requests.lock()[0].0["x-scope-orgid"], "acme");
    let writer = next.writer("acme");
    assert_eq!(writer.newest_ms(), Some(point(3.0).timestamp_ms));
    write_one(&writer, 4.0);
    next.flush().await;
    assert_eq!(receiver.values(), [2.0, 3.0, 4.0]);
}

/// A crash leaves what a process has written, and no more.
#[tokio::test]
async fn what_was_acknowledged_before_a_crash_is_not_sent_again() {
    let (receiver, url) = Receiver::start([]).await;
    let crashed = start(vec![endpoint_of_ones(&url)], false);
    let writer = crashed.writer("acme");
    write_one(&writer, 1.0);
    crashed.flush().await;
    receiver.set_rule(down);
    write_one(&writer, 2.0);
    assert_eq!(crashed.remote_write.flush(Duration::from_secs(60)).await, 1);
    // What the crashed process left, in another directory, while it still lives.
    let left = tempfile::tempdir().unwrap();
    let tenant = id("acme").directory();
    std::fs::create_dir(left.path().join(&tenant)).unwrap();
    for file in std::fs::read_dir(crashed.directory.path().join(&tenant)).unwrap() {
        let file = file.unwrap();
        let copy = left.path().join(&tenant).join(file.file_name());
        std::fs::copy(file.path(), copy).unwrap();
    }
    crashed.stop().await;

    receiver.set_rule(|_| None);
    receiver.requests.lock().clear();
    let next = start_in(left, Clock::system(), vec![endpoint_of_ones(&url)], false);
    next.remote_write.resume(|_| next.destinations.clone());
    next.flush().await;
    assert_eq!(receiver.values(), [2.0]);
}

#[tokio::test]
async fn without_its_cursor_everything_that_is_left_is_sent_again() {
    for damage in [Some(&b""[..]), Some(b"spancurs garbage"), None] {
        let (receiver, url) = Receiver::start([]).await;
        let first = start(vec![endpoint_of_ones(&url)], false);
        let writer = first.writer("acme");
        for value in [1.0, 2.0] {
            write_one(&writer, value);
        }
        first.flush().await;
        receiver.set_rule(down);
        write_one(&writer, 3.0);
        drop(writer);
        let directory = first.stop().await;
        for file in std::fs::read_dir(directory.path().join(id("acme").directory())).unwrap() {
            let path = file.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "cursor")
            {
                match damage {
                    Some(bytes) => std::fs::write(path, bytes).unwrap(),
                    None => std::fs::remove_file(path).unwrap(),
                }
            }
        }
        receiver.set_rule(|_| None);
        receiver.requests.lock().clear();
        let next = start_in(
            directory,
            Clock::system(),
            vec![endpoint_of_ones(&url)],
            false,
        );
        next.remote_write.resume(|_| next.destinations.clone());
        next.flush().await;
        assert_eq!(receiver.values(), [1.0, 2.0, 3.0], "{damage:?}");
        let unreadable = next.metric("spool_unreadable_files_total").unwrap();
        assert_eq!(unreadable, if damage.is_some() { "1" } else { "0" });
    }
}

/// The receiver still has the tenant's series, which have ended, and takes nothing earlier.
#[tokio::test]
async fn tenant_that_begins_anew_after_its_removal_knows_how_late_it_has_to_be() {
    for now_ms in [point(6.0).timestamp_ms, point(8.0).timestamp_ms] {
        let (receiver, url) = Receiver::start([]).await;
        let is_known = now_ms < point(7.0).timestamp_ms;
        if is_known {
            receiver.set_rule(down);
        }
        let clock = Clock::manual(now_ms.unsigned_abs() * 1_000_000);
        let fixture = start_at(clock, vec![endpoint_of_ones(&url)], true);
        let writer = fixture.writer("acme");
        assert_eq!(writer.newest_ms(), None);
        write_one(&writer, 7.0);
        drop(writer);
        if !is_known {
            // Then nothing of it is in memory any more.
            fixture.flush().await;
        }
        fixture.remote_write.remove(&id("acme")).unwrap();
        let newest_ms = fixture.writer("acme").newest_ms();
        let want = point(7.0).timestamp_ms.max(now_ms);
        assert_eq!(newest_ms, Some(want));
    }
}

#[tokio::test]
async fn damaged_samples_are_counted_and_the_others_arrive() {
    let (receiver, url) = Receiver::ruled(down).await;
    let first = start(vec![endpoint_of_ones(&url)], false);
    let writer = first.writer("acme");
    for value in [1.0, 2.0, 3.0] {
        write_one(&writer, value);
    }
    drop(writer);
    let directory = first.stop().await;
    let tenant = directory.path().join(id("acme").directory());
    for file in std::fs::read_dir(tenant).unwrap() {
        let path = file.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "segment")
        {
            let mut bytes = std::fs::read(&path).unwrap();
            // The last record is 3.0's, of 70 bytes or so, and before it is 2.0's.
            let place = bytes.len() - 100;
            bytes[place] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }
    }
    receiver.set_rule(|_| None);
    receiver.requests.lock().clear();
    let next = start_in(
        directory,
        Clock::system(),
        vec![endpoint_of_ones(&url)],
        false,
    );
    next.remote_write.resume(|_| next.destinations.clone());
    let writer = next.writer("acme");
    next.flush().await;
    assert_eq!(receiver.values(), [1.0, 3.0]);
    assert_eq!(next.count("samples_dropped_total damaged"), 1);
    assert_eq!(next.count("samples_sent_total"), 2);
    drop(writer);
}

/// A crash of the machine took what had been read already, and no sample follows that
/// would say so.
#[tokio::test]
async fn samples_that_are_missing_at_the_end_are_counted_and_nobody_waits_for_them() {
    let (receiver, url) = Receiver::ruled(down).await;
    let first = start(vec![endpoint_of_ones(&url)], false);
    let writer = first.writer("acme");
    for value in [1.0, 2.0, 3.0] {
        write_one(&writer, value);
    }
    drop(writer);
    // All of them have been read when this gives up.
    assert_eq!(first.remote_write.flush(Duration::from_secs(60)).await, 3);
    let directory = first.stop().await;
    let tenant = directory.path().join(id("acme").directory());
    for file in std::fs::read_dir(&tenant).unwrap() {
        let path = file.unwrap().path();
        if path.extension().unwrap() == "segment" {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() - 10).unwrap();
        }
    }
    let (_, found) = crate::inspect::inspect(directory.path()).unwrap().remove(0);
    assert_eq!((found.samples, found.missing), (2, 1));
    receiver.set_rule(|_| None);
    receiver.requests.lock().clear();
    let next = start_in(
        directory,
        Clock::system(),
        vec![endpoint_of_ones(&url)],
        false,
    );
    let writer = next.writer("acme");
    next.flush().await;
    assert_eq!(receiver.values(), [1.0, 2.0]);
    assert_eq!(next.count("samples_dropped_total damaged"), 1);
    write_one(&writer, 4.0);
    next.flush().await;
    assert_eq!(receiver.values(), [1.0, 2.0, 4.0]);
    assert_eq!(next.count("samples_dropped_total damaged"), 1);
}

/// Its cursor is there before the first request to it has ended.
#[tokio::test]
async fn crash_before_the_first_answer_loses_nothing_of_that_destination() {
    let (fast, fast_url) = Receiver::start([]).await;
    let (slow, slow_url) = Receiver::start([]).await;
    // Its requests get no answer at all.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging_url = format!("http://{}/", nobody.local_addr().unwrap());
    let named = |name: &str, url: &str| {
        let mut settings = endpoint_of_ones(url);
        settings["name"] = json!(name);
        settings
    };
    let crashed = start(
        vec![named("fast", &fast_url), named("slow", &hanging_url)],
        false,
    );
    let writer = crashed.writer("acme");
    write_one(&writer, 1.0);
    while fast.values().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while crashed.remote_write.flush(Duration::ZERO).await > 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let left = tempfile::tempdir().unwrap();
    let tenant = id("acme").directory();
    std::fs::create_dir(left.path().join(&tenant)).unwrap();
    for file in std::fs::read_dir(crashed.directory.path().join(&tenant)).unwrap() {
        let file = file.unwrap();
        let copy = left.path().join(&tenant).join(file.file_name());
        std::fs::copy(file.path(), copy).unwrap();
    }
    let settings = vec![named("fast", &fast_url), named("slow", &slow_url)];
    let next = start_in(left, Clock::system(), settings, false);
    next.remote_write.resume(|_| next.destinations.clone());
    next.flush().await;
    assert_eq!(slow.values(), [1.0]);
    assert_eq!(fast.values(), [1.0]);
}

/// As when the file with the tenant's settings is away at the start.
#[tokio::test]
async fn what_is_left_waits_for_a_destination() {
    let (receiver, url) = Receiver::ruled(down).await;
    let first = start(vec![endpoint_of_ones(&url)], false);
    let writer = first.writer("acme");
    write_one(&writer, 1.0);
    assert_eq!(first.remote_write.flush(Duration::from_secs(60)).await, 1);
    drop(writer);
    let directory = first.stop().await;
    receiver.set_rule(|_| None);
    receiver.requests.lock().clear();
    let settings = vec![endpoint_of_ones(&url)];
    let next = start_in(directory, Clock::system(), settings, false);
    next.remote_write.resume(|_| TenantDestinations::default());
    let nowhere = TenantDestinations::default();
    let writer = next.remote_write.writer(&id("acme"), &nowhere);
    write_one(&writer, 2.0);
    next.flush().await;
    assert!(receiver.values().is_empty());
    writer.set_destinations(&next.destinations);
    write_one(&writer, 3.0);
    next.flush().await;
    assert_eq!(receiver.values(), [1.0, 3.0]);
}

fn segments(directory: &std::path::Path) -> usize {
    let tenant = directory.join(id("acme").directory());
    let files = std::fs::read_dir(tenant).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.ends_with(".cursor")).count()
}

#[tokio::test]
async fn stop_removes_what_every_destination_has_and_keeps_the_rest() {
    let (receiver, url) = Receiver::start([]).await;
    let first = start(vec![endpoint_of_ones(&url)], false);
    let writer = first.writer("acme");
    write_one(&writer, 1.0);
    first.flush().await;
    first.remote_write.stop();
    assert_eq!(segments(first.directory.path()), 1);
    first.remote_write.sync();
    assert_eq!(segments(first.directory.path()), 0);
    drop(writer);
    let directory = first.stop().await;

    receiver.set_rule(down);
    let next = start_in(
        directory,
        Clock::system(),
        vec![endpoint_of_ones(&url)],
        false,
    );
    next.remote_write.resume(|_| next.destinations.clone());
    let writer = next.writer("acme");
    assert_eq!(writer.newest_ms(), Some(point(1.0).timestamp_ms));
    write_one(&writer, 2.0);
    assert_eq!(next.remote_write.flush(Duration::from_secs(60)).await, 1);
    next.remote_write.stop();
    next.remote_write.sync();
    assert_eq!(segments(next.directory.path()), 1);
    drop(writer);
    let directory = next.stop().await;

    receiver.set_rule(|_| None);
    receiver.requests.lock().clear();
    let last = start_in(
        directory,
        Clock::system(),
        vec![endpoint_of_ones(&url)],
        false,
    );
    last.remote_write.resume(|_| last.destinations.clone());
    last.flush().await;
    assert_eq!(receiver.values(), [2.0]);
}
