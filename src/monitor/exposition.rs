//! Everything that is counted or can be seen at this moment, as text; `docs/metrics.md` says what each figure means.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;

use super::format::Format;
use super::process::Process;
use crate::app::App;
use crate::jobs;
use crate::metrics::{self, Reading, Word};

/// The text of one scrape.
pub(super) fn text(app: &Arc<App>, ready: bool, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { app: Arc::clone(app), ready }));
    let mut written = String::new();
    match format {
        Format::Prometheus => prometheus_text::encode(&mut written, &registry)?,
        Format::OpenMetrics => text::encode(&mut written, &registry)?,
    }
    Ok(written)
}

/// One look at the sidecar.
struct Scrape {
    app: Arc<App>,
    ready: bool,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

/// Labels with their values, and a value.
type Sample<V> = (Vec<(&'static str, Word)>, V);

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        page.info()?;
        page.gauge("generatio_ready", "Whether PocketBase answers and has what the sidecar needs", [(vec![], u64::from(self.ready))])?;
        self.traffic(&mut page)?;
        self.upstream(&mut page)?;
        self.work(&mut page)?;
        metrics::RARE.iter().try_for_each(|family| page.counter(family.name(), family.help(), family.series()))?;
        process(&mut page)
    }
}

impl Scrape {
    /// What all workers counted on the way of requests.
    fn traffic(&self, page: &mut Page<'_>) -> fmt::Result {
        let workers = self.app.workers.lock();
        let traffic: Vec<_> = workers.iter().map(|seen| &seen.traffic).collect();
        let mut requests = std::collections::BTreeMap::new();
        for (class, code, count) in traffic.iter().flat_map(|traffic| traffic.requests()) {
            *requests.entry((class, code)).or_insert(0) += count;
        }
        let requests = requests.into_iter().map(|((class, code), count)| (vec![("class", class.into()), ("code", code.into())], count));
        page.counter("generatio_passed_requests", "Requests passed on to PocketBase that were answered, or refused unread", requests)?;
        let (mut added, mut lag) = (Reading::default(), Reading::default());
        for traffic in &traffic {
            added.add(&traffic.added_so_far());
            lag.add(&traffic.lag_so_far());
        }
        page.histogram(
            "generatio_added_latency_seconds",
            "From the head of a request being read to its being given to a connection to PocketBase",
            &added,
        )?;
        page.histogram("generatio_worker_lag_seconds", "How late a worker was for what it does each second", &lag)?;
        let sum = |figure: fn(&metrics::Traffic) -> u64| traffic.iter().map(|traffic| figure(traffic)).sum::<u64>();
        page.gauge("generatio_event_streams", "Streams of events that are open", [(vec![], sum(metrics::Traffic::open_streams))])?;
        page.gauge(
            "generatio_client_connections",
            "Client connections that are open",
            [(vec![], sum(metrics::Traffic::open_connections))],
        )?;
        page.counter(
            "generatio_client_connections_accepted",
            "Client connections that were accepted",
            [(vec![], sum(metrics::Traffic::connections))],
        )
    }

    /// Connections to PocketBase: those of the workers, and those of our own calls.
    fn upstream(&self, page: &mut Page<'_>) -> fmt::Result {
        let workers = self.app.workers.lock();
        let own = self.app.store.pool();
        let mut samples = Vec::new();
        for (pool, idle, open) in [
            (
                "workers",
                workers.iter().map(|seen| seen.pool.idle()).sum::<usize>(),
                workers.iter().map(|seen| seen.pool.open()).sum::<usize>(),
            ),
            ("own", own.idle(), own.open()),
        ] {
            samples.push((vec![("pool", pool.into()), ("state", "idle".into())], idle as u64));
            samples.push((vec![("pool", pool.into()), ("state", "in_use".into())], open.saturating_sub(idle) as u64));
        }
        page.gauge("generatio_upstream_connections", "Connections to PocketBase, by whose they are", samples)
    }

    /// Sessions, derivations and jobs.
    fn work(&self, page: &mut Page<'_>) -> fmt::Result {
        let App { keys, jobs, store, .. } = &*self.app;
        let active = keys.sessions.statistics(Instant::now()).active as u64;
        page.gauge("generatio_sessions_active", "Open sessions", [(vec![], active)])?;
        let work = keys.derivations();
        page.counter("generatio_derivations", "Key derivations that were begun", [(vec![], work.begun)])?;
        page.gauge("generatio_derivations_waiting", "Key derivations that wait for their turn", [(vec![], work.waiting as u64)])?;
        let counts = jobs.count_by_status();
        let of =
            |status: &&'static str| counts.iter().filter(|(counted, _)| counted.word() == *status).map(|(_, count)| *count).sum::<u64>();
        let statuses = jobs::Status::UNFINISHED.iter().map(|status| (vec![("status", Word::from(*status))], of(status)));
        page.gauge("generatio_jobs", "Generation jobs that have a task here, by their state", statuses)?;
        page.gauge("generatio_tokens_remembered", "Users' tokens that are known to be good", [(vec![], store.callers.remembered() as u64)])
    }
}

fn process(page: &mut Page<'_>) -> fmt::Result {
    let Process { cpu, resident, descriptors, most_descriptors, started } = Process::look();
    page.counter("process_cpu_seconds", "Time on processors, of all threads", [(vec![], cpu.as_secs_f64())])?;
    for (name, help, value) in [
        ("process_resident_memory_bytes", "Memory in use", resident),
        ("process_open_fds", "Open file descriptors", descriptors),
        ("process_max_fds", "How many there may be", most_descriptors),
    ] {
        value.map_or(Ok(()), |value| page.gauge(name, help, [(vec![], value)]))?;
    }
    started.map_or(Ok(()), |at| {
        page.gauge("process_start_time_seconds", "When the process was started, in seconds of the Unix epoch", [(vec![], at)])
    })
}

/// What is being written.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn info(&mut self) -> fmt::Result {
        let mut metric = self.0.encode_descriptor("generatio_build", "The version that runs", None, MetricType::Info)?;
        metric.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }

    /// `name` without `_total`.
    fn counter<V>(&mut self, name: &'static str, help: &str, samples: impl IntoIterator<Item = Sample<V>>) -> fmt::Result
    where
        ConstCounter<V>: EncodeMetric,
    {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge<V: EncodeGaugeValue>(&mut self, name: &'static str, help: &str, samples: impl IntoIterator<Item = Sample<V>>) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &'static str, help: &str, reading: &Reading) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(reading.seconds, reading.count(), &reading.counts, None)
    }
}
