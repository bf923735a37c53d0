//! Room that comes and goes.

use super::*;

/// Answers hold many times as much as there is room for, and room is given back at any moment: while an answer is taken
/// apart, and before anybody looks whether there is any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_passed_over_where_there_is_little_room() {
    let mut log = Log::new().await;
    log.produce(60_000).await;
    for queue in [1 << 10, 200 << 10] {
        let memory = Memory::new("hot");
        let mut config = log.config(&[&memory]);
        (config.group, config.queue) = (format!("{}-{queue}", config.group), queue);
        let runtime = Runtime::start(config).unwrap();
        log.held_by(&[&memory]).await;
        runtime.shutdown().await;
    }
}
