//! The metrics, read off the same counters as the status. Labels hold only names out of the config and words of ours,
//! so their number is bounded.

use std::collections::BTreeMap;

use super::Api;
use super::status::condition_name;
use crate::pipeline::{ComponentStatus, PipelineState, PipelineStatus, Role, SinkHealth, SinkStatus};
use crate::telemetry::{Exposition, Format, ProcessUse};

/// A family of metrics: its name, its help, and the value that the status of something has.
type Metric<S, V> = (&'static str, &'static str, fn(&S) -> V);

impl Api {
    pub(super) fn exposition(&self, format: Format) -> String {
        let mut exposition = Exposition::new(format);
        let pipelines = self.engine.status();
        write_components(&mut exposition, &pipelines);
        write_pipelines(&mut exposition, &pipelines);
        write_sinks(&mut exposition, &self.engine.sinks());
        self.write_alerts(&mut exposition, &pipelines);
        self.write_store(&mut exposition);
        let memory = self.engine.memory();
        exposition.gauge("gatherd_memory_limit_bytes", "The budget for items in memory.").sample(&[], memory.limit);
        exposition.gauge("gatherd_memory_used_bytes", "What items in memory take of it.").sample(&[], memory.used);
        self.write_process(&mut exposition);
        exposition.finish()
    }

    fn write_alerts(&self, exposition: &mut Exposition, pipelines: &[PipelineStatus]) {
        let open = self.engine.alerts();
        let mut alerts = exposition.gauge("gatherd_pipeline_alerts", "How many expectations are not met.");
        for pipeline in pipelines.iter().filter(|pipeline| pipeline.part.is_none()) {
            let count = open.iter().filter(|alert| alert.pipeline == pipeline.pipeline).count();
            alerts.sample(&[("pipeline", &pipeline.name)], count);
        }
        let mut hosts: BTreeMap<(Option<String>, &str), u64> = BTreeMap::new();
        for condition in self.reloader.clients().host_conditions() {
            *hosts.entry((condition.client, condition_name(&condition.state))).or_default() += 1;
        }
        // Hosts come from data, so they are counted, not named.
        let mut held = exposition.gauge("gatherd_client_hosts_held", "Hosts that take nothing at the moment.");
        for ((client, state), count) in &hosts {
            held.sample(&[("client", client.as_deref().unwrap_or("")), ("state", state)], count);
        }
        let mut clients = exposition.gauge("gatherd_client_up", "Whether a client can sign in, as far as is known.");
        for (name, condition) in self.reloader.clients().states() {
            clients.sample(&[("client", &name)], u8::from(condition.is_none()));
        }
    }

    fn write_store(&self, exposition: &mut Exposition) {
        // What cannot be read now is left out; the next scrape may have it.
        let queues = self.store.queues().unwrap_or_default();
        let mut items = exposition.gauge("gatherd_queue_items", "Items in a queue on disk.");
        for (name, size, _) in &queues {
            items.sample(&[("queue", name)], size.items);
        }
        let mut bytes = exposition.gauge("gatherd_queue_bytes", "What a queue takes on disk.");
        for (name, size, _) in &queues {
            bytes.sample(&[("queue", name)], size.bytes);
        }
        let now = self.clock.timestamp();
        let mut ages = exposition.gauge("gatherd_queue_oldest_age_seconds", "How long its oldest item has waited.");
        for (name, _, oldest) in &queues {
            let age = oldest.map_or(0.0, |oldest| now.duration_since(oldest).as_secs_f64().max(0.0));
            ages.sample(&[("queue", name)], age);
        }
        let waits = u8::from(self.store.is_waiting_for_space());
        exposition
            .gauge("gatherd_store_waits_for_space", "Whether commits wait since the disk is full.")
            .sample(&[], waits);
        let damaged = self.store.damaged_rows();
        exposition.counter("gatherd_store_damaged_rows", "Damaged rows that were passed over.").sample(&[], damaged);
    }

    fn write_process(&self, exposition: &mut Exposition) {
        let used = ProcessUse::now();
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        exposition.gauge("gatherd_build_info", "The version that runs.").sample(&version, 1);
        let started = self.started.as_millisecond() as f64 / 1e3;
        exposition
            .gauge("process_start_time_seconds", "Start of the process, since the Unix epoch.")
            .sample(&[], started);
        exposition.counter("process_cpu_seconds", "Processor time, user and system.").sample(&[], used.cpu_seconds);
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Memory that is resident.", used.resident_bytes),
            ("process_virtual_memory_bytes", "Memory that is mapped.", used.virtual_bytes),
            ("process_open_fds", "Open file descriptors.", used.open_descriptors),
            ("process_max_fds", "How many file descriptors may be open.", used.most_descriptors),
        ] {
            if let Some(value) = value {
                exposition.gauge(name, help).sample(&[], value);
            }
        }
    }
}

fn write_components(exposition: &mut Exposition, pipelines: &[PipelineStatus]) {
    let each = || pipelines.iter().flat_map(|pipeline| pipeline.components.iter().map(|one| (&*pipeline.name, one)));
    let counters: [Metric<ComponentStatus, Option<u64>>; 5] = [
        ("gatherd_component_items_in", "Items that entered a step or the way to a sink.", |component| {
            (component.role != Role::Source).then_some(component.counts.entered)
        }),
        ("gatherd_component_items_out", "Items that a source made, a step handed on, or a sink took.", |component| {
            Some(component.counts.left)
        }),
        ("gatherd_component_items_rejected", "Items that became dead letters.", |component| {
            Some(component.counts.rejected)
        }),
        ("gatherd_component_retries", "Tries after the first.", |component| Some(component.counts.retried)),
        ("gatherd_component_saved_bytes", "Bytes of replies that did not have to come again.", |component| {
            component.counts.calls.is_some().then_some(component.counts.saved)
        }),
    ];
    for (name, help, count) in counters {
        let mut family = exposition.counter(name, help);
        for (pipeline, component) in each() {
            if let Some(count) = count(component) {
                family.sample(&labels(pipeline, component), count);
            }
        }
    }
    let about = "Since a cursor of the component moved, or since the start if none has.";
    let mut cursors = exposition.gauge("gatherd_component_cursor_age_seconds", about);
    for (pipeline, component) in each() {
        if let Some(age) = component.cursor_age {
            cursors.sample(&labels(pipeline, component), age.as_secs_f64());
        }
    }
    let mut filtered = exposition.counter("gatherd_component_items_filtered", "Items that ended on purpose.");
    for pipeline in pipelines {
        for component in &pipeline.components {
            for (reason, count) in &component.counts.filtered {
                let [pipeline, id, role] = labels(&pipeline.name, component);
                filtered.sample(&[pipeline, id, role, ("reason", reason.name())], count);
            }
        }
        if pipeline.unwanted > 0 {
            let labels = [("pipeline", &*pipeline.name), ("component", "to"), ("role", "to"), ("reason", "no_sink")];
            filtered.sample(&labels, pipeline.unwanted);
        }
    }
    let mut waiting = exposition.gauge("gatherd_component_items_waiting", "Items that wait before a network step.");
    for (pipeline, component) in each() {
        if let Some(count) = component.waiting {
            waiting.sample(&labels(pipeline, component), count);
        }
    }
    let mut calls = exposition.histogram("gatherd_call_duration_seconds", "How long the calls of a network step took.");
    for (pipeline, component) in each() {
        if let Some(times) = &component.counts.calls {
            calls.distribution(&labels(pipeline, component), times);
        }
    }
}

fn labels<'a>(pipeline: &'a str, component: &'a ComponentStatus) -> [(&'a str, &'a str); 3] {
    [("pipeline", pipeline), ("component", &component.id), ("role", component.role.name())]
}

fn write_pipelines(exposition: &mut Exposition, pipelines: &[PipelineStatus]) {
    let counters: [Metric<PipelineStatus, u64>; 2] = [
        (
            "gatherd_pipeline_items_settled",
            "Items of the source that have ended, with all that came of them.",
            |pipeline| pipeline.counts.settled,
        ),
        ("gatherd_pipeline_items_abandoned", "Items of the source that will come again.", |pipeline| {
            pipeline.counts.abandoned
        }),
    ];
    for (name, help, count) in counters {
        let mut family = exposition.counter(name, help);
        pipelines.iter().for_each(|pipeline| _ = family.sample(&[("pipeline", &pipeline.name)], count(pipeline)));
    }
    let gauges: [Metric<PipelineStatus, Option<f64>>; 5] = [
        ("gatherd_pipeline_items_in_flight", "Items of the source that have not ended.", |pipeline| {
            Some(pipeline.in_flight as f64)
        }),
        ("gatherd_pipeline_memory_bytes", "What its items take in memory.", |pipeline| Some(pipeline.memory as f64)),
        (
            "gatherd_pipeline_freshness_seconds",
            "Since the newest item that came through all steps, or since the start if there was none.",
            |pipeline| {
                let age = pipeline.newest_age.unwrap_or(pipeline.age);
                pipeline.part.is_none().then_some(age.as_secs_f64())
            },
        ),
        ("gatherd_dead_letters", "Items that were given up and are kept.", |pipeline| {
            pipeline.part.is_none().then_some(pipeline.dead.items as f64)
        }),
        ("gatherd_dead_letter_bytes", "What dead letters take on disk.", |pipeline| {
            pipeline.part.is_none().then_some(pipeline.dead.bytes as f64)
        }),
    ];
    for (name, help, value) in gauges {
        let mut family = exposition.gauge(name, help);
        for pipeline in pipelines {
            if let Some(value) = value(pipeline) {
                family.sample(&[("pipeline", &pipeline.name)], value);
            }
        }
    }
    let mut states = exposition.gauge("gatherd_pipeline_state", "Which state a pipeline is in: that one is 1.");
    for pipeline in pipelines {
        for state in PipelineState::ALL {
            let is_in_it = u8::from(pipeline.state == state);
            states.sample(&[("pipeline", &pipeline.name), ("state", state.name())], is_in_it);
        }
    }
}

fn write_sinks(exposition: &mut Exposition, sinks: &[SinkStatus]) {
    let gauges: [Metric<SinkStatus, Option<u64>>; 5] = [
        ("gatherd_sink_up", "Whether the destination takes items.", |sink| {
            Some((sink.health == SinkHealth::Works).into())
        }),
        ("gatherd_sink_breaker_open", "Whether it refuses everything, and one item is tried now and then.", |sink| {
            Some(matches!(sink.health, SinkHealth::Refuses(_)).into())
        }),
        ("gatherd_sink_items_waiting", "Items in the channel before a sink.", |sink| Some(sink.waiting as u64)),
        ("gatherd_sink_buffer_items", "Items in the buffer of a sink that lags.", |sink| {
            sink.buffer.map(|size| size.items)
        }),
        ("gatherd_sink_buffer_bytes", "What the buffer takes on disk.", |sink| sink.buffer.map(|size| size.bytes)),
    ];
    for (name, help, value) in gauges {
        let mut family = exposition.gauge(name, help);
        for sink in sinks {
            if let Some(value) = value(sink) {
                family.sample(&[("sink", &sink.name)], value);
            }
        }
    }
    let mut writes = exposition.histogram("gatherd_sink_write_duration_seconds", "How long the writes of a sink took.");
    for sink in sinks {
        writes.distribution(&[("sink", &sink.name)], &sink.writes);
    }
}
