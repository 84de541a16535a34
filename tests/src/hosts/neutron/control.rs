//! Neutron's control plane in a pod: database, message queue, server, agents.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::api::Api;
use crate::hosts::pod::Pod;
use crate::process::Process;
use crate::process::wait::wait_until;

/// Files of the configuration.
const FOLDER: &str = "/srv/neutron";
const FILES: [(&str, &str); 7] = [
    ("neutron.conf", include_str!("neutron.conf")),
    ("ml2.ini", include_str!("ml2.ini")),
    ("linuxbridge.ini", include_str!("linuxbridge.ini")),
    ("l3.ini", "[DEFAULT]\n"),
    ("dhcp.ini", include_str!("dhcp.ini")),
    ("schema.py", include_str!("schema.py")),
    ("plug.py", include_str!("plug.py")),
];

const SOCKET: &str = "/run/mysql.sock";
const LIMIT: Duration = Duration::from_secs(90);

/// The agents of a node, with the files that they read.
const AGENTS: [(&str, &[&str]); 3] = [
    ("neutron-linuxbridge-agent", &["ml2.ini", "linuxbridge.ini"]),
    ("neutron-l3-agent", &["l3.ini"]),
    ("neutron-dhcp-agent", &["dhcp.ini"]),
];

/// What runs.
#[derive(Debug)]
pub struct Control {
    _services: Vec<Process>,
    agents: Vec<Process>,
}

impl Control {
    pub fn start(pod: &Pod, api: &Api<'_>) -> Result<Self> {
        pod.sh(&format!("mkdir -p {FOLDER} /var/lib/neutron/lock /var/log/neutron")).run()?;
        FILES.iter().try_for_each(|(name, text)| pod.write(&format!("{FOLDER}/{name}"), text))?;
        let mut services = vec![queue(pod)?, database(pod)?];
        let url = format!("mysql+pymysql://root@localhost/neutron?unix_socket={SOCKET}&charset=utf8");
        pod.program("python3").arg(format!("{FOLDER}/schema.py")).arg(url).run().context("the schema")?;
        wait_until("the message queue listens", LIMIT, || listens(pod, 5672))?;
        services.push(daemon(pod, "neutron-server", &["ml2.ini"])?);
        wait_until("Neutron's server answers", LIMIT, || Ok(api.get("networks").is_ok()))?;
        let agents = agents(pod)?;
        wait_for_agents(api, &[])?;
        Ok(Self { _services: services, agents })
    }

    /// Ends the agents and starts them again.
    pub fn restart_agents(&mut self, pod: &Pod, api: &Api<'_>) -> Result<()> {
        let before = AGENTS.iter().map(|(name, _)| started(api, name)).collect::<Result<Vec<_>>>()?;
        self.agents.iter().try_for_each(|agent| agent.signal(Signal::SIGTERM))?;
        for mut agent in self.agents.drain(..) {
            agent.wait(LIMIT)?;
        }
        self.agents = agents(pod)?;
        wait_for_agents(api, &before)
    }
}

/// Makes the bridge of an instance's network, as Nova has it made.
pub fn plug(pod: &Pod, arguments: [&str; 5]) -> Result<()> {
    pod.program("python3").arg(format!("{FOLDER}/plug.py")).args(arguments).run().context("os-vif")
}

fn agents(pod: &Pod) -> Result<Vec<Process>> {
    AGENTS.iter().map(|(name, files)| daemon(pod, name, files)).collect()
}

fn daemon(pod: &Pod, name: &str, files: &[&str]) -> Result<Process> {
    let files = ["neutron.conf"].into_iter().chain(files.iter().copied());
    let options = files.flat_map(|file| ["--config-file".to_owned(), format!("{FOLDER}/{file}")]);
    pod.program(name).args(options).env("PYTHONWARNINGS", "ignore").spawn()
}

/// Until all have reported themselves since, by the times of their starts before.
fn wait_for_agents(api: &Api<'_>, before: &[Value]) -> Result<()> {
    for (place, (name, _)) in AGENTS.iter().enumerate() {
        wait_until(&format!("{name} has reported itself"), LIMIT, || {
            let started = started(api, name)?;
            Ok(!started.is_null() && before.get(place) != Some(&started))
        })?;
    }
    Ok(())
}

/// When an agent that is alive was started; null without one.
fn started(api: &Api<'_>, name: &str) -> Result<Value> {
    let agents = api.get(&format!("agents?binary={name}"))?;
    let agent = &agents["agents"][0];
    Ok(if agent["alive"] == true { agent["started_at"].clone() } else { Value::Null })
}

fn listens(pod: &Pod, port: u16) -> Result<bool> {
    let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    Ok(pod.program("bash").args(["-c", &connect]).output()?.status.success())
}

fn queue(pod: &Pod) -> Result<Process> {
    let folder = "/var/lib/rabbit";
    pod.sh(&format!("mkdir -p {folder}")).run()?;
    pod.write(&format!("{folder}/rabbitmq.conf"), include_str!("rabbitmq.conf"))?;
    pod.write(&format!("{folder}/plugins"), "[].\n")?;
    let queue =
        pod.program("/usr/lib/rabbitmq/bin/rabbitmq-server").env("HOME", folder).env("LANG", "C.UTF-8");
    let places = [
        ("CONFIG_FILE", "rabbitmq"),
        ("CONF_ENV_FILE", "env"),
        ("MNESIA_BASE", "mnesia"),
        ("LOG_BASE", "log"),
        ("ENABLED_PLUGINS_FILE", "plugins"),
        ("PID_FILE", "pid"),
    ];
    let queue = places.iter().fold(queue, |queue, (name, file)| {
        queue.env(&format!("RABBITMQ_{name}"), format!("{folder}/{file}"))
    });
    queue
        .env("RABBITMQ_NODENAME", "rabbit@localhost")
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .spawn()
}

/// No SQLite: where two processes write, it says "database is locked", which Neutron takes for an error.
fn database(pod: &Pod) -> Result<Process> {
    let folder = "--datadir=/var/lib/mysql-natbpf";
    let install = ["--no-defaults", "--user=root", folder, "--auth-root-authentication-method=normal"];
    pod.program("mariadb-install-db").args(install).arg("--skip-test-db").run()?;
    let database = pod
        .program("mariadbd")
        .args(["--no-defaults", "--user=root", folder, "--skip-networking", "--performance-schema=0"])
        .args(["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M"])
        .args(["--character-set-server=utf8", "--pid-file=/run/mysql.pid"])
        .arg(format!("--socket={SOCKET}"))
        .spawn()?;
    let create = ["--no-defaults", "-S", SOCKET, "-u", "root", "-e", "create database if not exists neutron"];
    wait_until("the database answers", LIMIT, || {
        Ok(pod.program("mariadb").args(create).output()?.status.success())
    })?;
    Ok(database)
}
