#include "cluster/lab/mesh/proxy.h"

#include <charconv>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/http/http.h"
#include "base/process_cost.h"
#include "base/terminal.h"
#include "cluster/agent_errors.h"
#include "cluster/lab/mesh/interception.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Result;

constexpr auto ready_within = std::chrono::seconds(20);
// Each look is work for a thread of the proxy's, which may be on the core of what is measured.
constexpr auto look_again = std::chrono::milliseconds(20);
constexpr auto answer_within = std::chrono::seconds(5);
// How long connections that an older configuration took may go on (as istio-agent has it).
constexpr std::string_view drain_seconds = "45";

std::string encoded(std::string_view text) {
  std::string all;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (plain) {
      all += c;
    } else {
      all += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return all;
}

std::uint64_t number_of(std::string_view text) {
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// Calls with name and value of every line "name: value".
template <typename Take>
void each_statistic(std::string_view stats, const Take& take) {
  while (!stats.empty()) {
    const auto line = stats.substr(0, stats.find('\n'));
    stats.remove_prefix(std::min(stats.size(), line.size() + 1));
    const auto colon = line.rfind(": ");
    if (colon != std::string_view::npos) take(line.substr(0, colon), line.substr(colon + 2));
  }
}

// Of inside the sandbox: a file nobody but the proxy's user needs to read.
Result<> write_for_proxy(const std::string& path, std::string_view content) {
  RETURN_IF_ERROR(base::write_file(path, content));
  if (::chmod(path.c_str(), 0600) < 0 || ::chown(path.c_str(), proxy_uid, proxy_uid) < 0) {
    return base::system_error(errno, "{}", path);
  }
  return {};
}

// The same of what is no secret. It keeps its mode when it is replaced, and the proxy reads it the
// moment that it is.
Result<> write_configuration(const std::string& directory, std::string_view name,
                             const base::Json& content) {
  const auto path = fmt::format("{}/{}", directory, name);
  RETURN_IF_ERROR(base::write_file(path, base::dump_json_pretty(content) + "\n"));
  if (::chmod(path.c_str(), 0644) < 0) return base::system_error(errno, "{}", path);
  return {};
}

Result<> make_directory(const std::string& path) {
  std::error_code code;
  std::filesystem::create_directories(path, code);
  if (code) return base::system_error(code.value(), "{}", path);
  if (::chown(path.c_str(), proxy_uid, proxy_uid) < 0) return base::system_error(errno, "{}", path);
  return {};
}

// Has a link lead elsewhere, at one instant.
Result<> swap_link(const std::string& link, const std::string& target) {
  const auto made = link + ".new";
  std::error_code code;
  std::filesystem::remove(made, code);
  std::filesystem::create_symlink(target, made, code);
  if (!code) std::filesystem::rename(made, link, code);
  if (code) return base::system_error(code.value(), "{}", link);
  return {};
}

// As a kubelet mounts a Secret: `..data` leads to the files of one time, and they are read through
// it. `time`: counted from 1.
Result<> write_certificates(const std::string& directory, const pki::KeyPair& identity,
                            const std::string& root, std::uint64_t time) {
  const auto certificates = fmt::format("{}/{}", directory, certificates_directory);
  const auto of_now = fmt::format("..{}", time);
  RETURN_IF_ERROR(make_directory(certificates));
  RETURN_IF_ERROR(make_directory(fmt::format("{}/{}", certificates, of_now)));
  const auto write = [&](std::string_view name, const std::string& content) {
    return write_for_proxy(fmt::format("{}/{}/{}", certificates, of_now, name), content);
  };
  RETURN_IF_ERROR(write("cert.pem", identity.certificate));
  RETURN_IF_ERROR(write("key.pem", identity.key));
  RETURN_IF_ERROR(write("root.pem", root));
  RETURN_IF_ERROR(swap_link(certificates + "/..data", of_now));
  if (time > 1) {
    std::error_code ignored;  // what is left over goes with the lab
    std::filesystem::remove_all(fmt::format("{}/..{}", certificates, time - 1), ignored);
    return {};
  }
  for (const char* name : {"cert.pem", "key.pem", "root.pem"}) {
    RETURN_IF_ERROR(
        swap_link(fmt::format("{}/{}", certificates, name), fmt::format("..data/{}", name)));
  }
  return {};
}

// Which configurations it has, and who refused which.
std::string state_query() {
  return "/stats?filter=" + encoded("^(listener_manager|cluster_manager|sds)\\.");
}

std::string connections_query() {
  return "/stats?filter=" +
         encoded(
             "^(cluster\\.outbound\\|.*\\.upstream|listener\\.inbound\\.downstream)_cx_active$");
}

std::vector<std::string> command_of(const ProxySpec& spec, const ProxyOptions& options) {
  std::vector<std::string> argv;
  if (options.cpu >= 0) argv = {"taskset", "-c", std::to_string(options.cpu)};
  const auto user = std::to_string(proxy_uid);
  argv.insert(
      argv.end(),
      {"setpriv", "--reuid=" + user, "--regid=" + user, "--clear-groups", options.program, "-c",
       fmt::format("{}/{}", spec.directory, bootstrap_file),
       // Namespaces of a machine share /dev/shm, by which old and new ones would meet.
       "--disable-hot-restart", "--concurrency", std::to_string(options.workers), "--drain-time-s",
       std::string(drain_seconds), "--drain-strategy", "immediate", "--log-level", "warning"});
  return argv;
}

}  // namespace

Result<Proxy> Proxy::start(const Sandbox& sandbox, const ProxySpec& spec,
                           const pki::KeyPair& identity, const std::string& root,
                           const ProxyOptions& options) {
  const auto write_all = [&]() -> Result<> {
    RETURN_IF_ERROR(make_directory(spec.directory));
    // Of the one before, which nobody answers at any more.
    std::error_code code;
    std::filesystem::remove(fmt::format("{}/{}", spec.directory, admin_socket), code);
    RETURN_IF_ERROR(write_certificates(spec.directory, identity, root, 1));
    for (const auto& [name, content] : proxy_files(spec, 1)) {
      RETURN_IF_ERROR(write_configuration(spec.directory, name, content));
    }
    return {};
  };
  RETURN_IF_ERROR(sandbox.inside(-1, write_all));
  const auto path = fmt::format("/proc/{}/root{}", sandbox.init(), spec.directory);
  base::UniqueFd directory(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return base::system_error(errno, "{}", path);
  ASSIGN_OR_RETURN(auto errors, bounded_errors_file());
  ASSIGN_OR_RETURN(auto process, sandbox.spawn({.argv = command_of(spec, options),
                                                .out = base::Stdio::descriptor(errors.get()),
                                                .err = base::Stdio::descriptor(errors.get())},
                                               options.place));
  return Proxy(sandbox, spec, std::move(process), std::move(directory), std::move(errors), options);
}

std::string Proxy::last_words() const {
  std::string text(std::size_t{64} << 10, '\0');
  const auto size = ::pread(errors_.get(), text.data(), text.size(), 0);
  text.resize(size < 0 ? 0 : std::min(static_cast<std::size_t>(size), text.find('\0')));
  return read_last_words(text);
}

Result<std::string> Proxy::ask(const std::string& path) const {
  const auto socket = fmt::format("/proc/self/fd/{}/{}", directory_.get(), admin_socket);
  ASSIGN_OR_RETURN(auto answer,
                   base::http::exchange_at(socket, {.method = "GET", .url = "http://envoy" + path},
                                           answer_within));
  if (answer.status != 200) {
    return base::fail(ErrorKind::system, "the Envoy of {}: {}: status {}", spec_.pod, path,
                      answer.status);
  }
  return std::move(answer.body);
}

Result<bool> Proxy::serves() const {
  const auto stats = ask(state_query());
  if (!stats) return false;  // its socket is not there yet
  const auto wanted = fmt::format("\"{}\"", version_);
  std::string listeners;
  std::string clusters;
  bool started = false;
  std::uint64_t warming = 0;
  std::uint64_t told = 0;     // of listeners, each time one is new or another
  std::uint64_t at_work = 0;  // the same, once for each worker that has it
  each_statistic(*stats, [&](std::string_view name, std::string_view value) {
    if (name == "listener_manager.lds.version_text") listeners = value;
    if (name == "cluster_manager.cds.version_text") clusters = value;
    if (name == "listener_manager.workers_started") started = value == "1";
    if (name.ends_with("_warming") || name.ends_with(".warming_clusters"))
      warming += number_of(value);
    if (name == "listener_manager.listener_added" || name == "listener_manager.listener_modified") {
      told += number_of(value);
    }
    if (name == "listener_manager.listener_create_success") at_work = number_of(value);
  });
  if (read_refusals(*stats) > refused_before_) {
    return base::fail_with_mend(ErrorKind::system,
                                fmt::format("the Envoy of {} refuses its configuration", spec_.pod),
                                "Its last words:\n" + last_words());
  }
  // The main thread has a configuration before its workers do.
  return started && warming == 0 && listeners == wanted && clusters == wanted &&
         at_work == told * workers_;
}

Result<bool> Proxy::has_no_connections() const {
  // A machine that stalls answers the next time.
  const auto stats = ask(connections_query());
  return stats && read_open_connections(*stats) == 0;
}

Result<> Proxy::await() {
  return await(&Proxy::serves, [&] {
    return base::Error{.kind = ErrorKind::timed_out,
                       .message = fmt::format("the Envoy of {} is not ready after {} s", spec_.pod,
                                              ready_within.count()),
                       .mend = "Its last words:\n" + last_words()};
  });
}

Result<> Proxy::await_no_connections() {
  return await(&Proxy::has_no_connections, [&] {
    const auto stats = ask(connections_query());
    return base::Error{
        .kind = ErrorKind::timed_out,
        .message = fmt::format("the Envoy of {} still has connections to others {} s after it was "
                               "told to close them: {}",
                               spec_.pod, ready_within.count(),
                               stats ? name_open_connections(*stats) : stats.error().message),
        .mend = "Who uses them? Nothing else may send by a mesh while its wire is looked at."};
  });
}

Result<> Proxy::await(Result<bool> (Proxy::*there)() const,
                      const std::function<base::Error()>& why_not) {
  const auto give_up = base::monotonic_now() + ready_within;
  for (;;) {
    ASSIGN_OR_RETURN(const bool is_there, (this->*there)());
    if (is_there) return {};
    if (interrupt_ != nullptr && interrupt_->requested()) {
      return base::fail(ErrorKind::interrupted, "interrupted");
    }
    const auto ended = process_.wait(look_again);
    if (ended) {
      return base::fail_with_mend(
          ErrorKind::system,
          fmt::format("the Envoy of {} ended with {}", spec_.pod, ended->to_string()),
          "Its last words:\n" + last_words());
    }
    if (ended.error().kind != ErrorKind::timed_out) return std::unexpected(ended.error());
    if (base::monotonic_now() > give_up) return std::unexpected(why_not());
  }
}

Result<> Proxy::update(const ProxySpec& spec) {
  if (spec == spec_) return {};
  // What went wrong before is no refusal of what comes now.
  if (const auto stats = ask(state_query())) refused_before_ = read_refusals(*stats);
  const auto files = proxy_files(spec, version_ + 1);
  const auto replace = [&]() -> Result<> {
    for (const auto name : {clusters_file, listeners_file}) {
      RETURN_IF_ERROR(write_configuration(spec.directory, name, files.at(std::string(name))));
    }
    return {};
  };
  RETURN_IF_ERROR(sandbox_->inside(-1, replace));
  spec_ = spec;
  ++version_;
  return {};
}

Result<> Proxy::end(int signal) {
  RETURN_IF_ERROR(process_.signal(signal));
  if (auto ended = process_.wait(ready_within); !ended) {
    return base::in_context(std::move(ended).error(), "the Envoy of {}, told to end", spec_.pod);
  }
  return {};
}

Result<> Proxy::renew(const pki::KeyPair& identity, const std::string& roots) {
  const auto next = certificates_ + 1;
  RETURN_IF_ERROR(sandbox_->inside(
      -1, [&] { return write_certificates(spec_.directory, identity, roots, next); }));
  certificates_ = next;
  return {};
}

Result<ProxyUsage> Proxy::usage() const {
  ASSIGN_OR_RETURN(const auto text, base::read_file(cgroup_ + "/cpu.stat"));
  ProxyUsage usage{.pod = spec_.pod, .at_ns = base::monotonic_now().ns};
  ASSIGN_OR_RETURN(usage.cpu_ns, read_cpu_usage(text));
  return usage;
}

Result<ProxyCounters> Proxy::counters() const {
  ASSIGN_OR_RETURN(
      const auto stats,
      ask("/stats?filter=" + encoded("^(cluster\\.outbound|listener\\.(in|out)bound)")));
  auto counters = read_counters(stats);
  counters.pod = spec_.pod;
  ASSIGN_OR_RETURN(const auto memory, base::pss_of(process_.pid()));
  counters.memory_bytes = static_cast<std::int64_t>(memory);
  return counters;
}

Result<std::string> Proxy::roots() const {
  return base::read_file(
      fmt::format("/proc/self/fd/{}/{}/root.pem", directory_.get(), certificates_directory));
}

base::Json Proxy::files() const {
  base::Json all = base::Json::object();
  for (const auto& [name, content] : proxy_files(spec_, version_)) all[name] = content;
  return all;
}

ProxyCounters read_counters(std::string_view stats) {
  ProxyCounters counters;
  const auto count_tls = [](std::string_view name, std::uint64_t value, std::uint64_t& handshakes,
                            std::uint64_t& resumed, std::uint64_t& failed) {
    if (name.ends_with(".ssl.handshake")) handshakes += value;
    if (name.ends_with(".ssl.session_reused")) resumed += value;
    if (name.ends_with(".ssl.connection_error") || name.find(".ssl.fail_verify_") != name.npos) {
      failed += value;
    }
  };
  each_statistic(stats, [&](std::string_view name, std::string_view text) {
    const auto value = number_of(text);
    if (name.starts_with("cluster.outbound|")) {
      count_tls(name, value, counters.client_handshakes, counters.client_resumed,
                counters.client_failed);
      if (name.ends_with(".upstream_cx_total")) counters.upstream += value;
      if (name.ends_with(".upstream_rq_pending_overflow")) {
        counters.overflowed = counters.overflowed.value_or(0) + value;
      }
    } else if (name.starts_with("listener.inbound.")) {
      count_tls(name, value, counters.server_handshakes, counters.server_resumed,
                counters.server_failed);
      if (name == "listener.inbound.downstream_cx_total") counters.connections_in = value;
      if (name == "listener.inbound.no_filter_chain_match") counters.no_chain = value;
      if (name.ends_with(".ssl.certificate.default.expiration_unix_time_seconds")) {
        counters.certificate_expires_s = static_cast<std::int64_t>(value);
      }
    } else if (name == "listener.outbound.downstream_cx_total") {
      counters.connections_out = value;
    }
  });
  return counters;
}

namespace {

// Calls with the name and the number of every kind of connections to or from other proxies.
template <typename Take>
void each_kind_of_connection(std::string_view stats, const Take& take) {
  constexpr std::string_view of_cluster = "cluster.";
  constexpr std::string_view active = ".upstream_cx_active";
  each_statistic(stats, [&](std::string_view name, std::string_view text) {
    if (name == "listener.inbound.downstream_cx_active") {
      take("inbound", number_of(text));
    } else if (name.starts_with("cluster.outbound|") && name.ends_with(active)) {
      name.remove_prefix(of_cluster.size());
      name.remove_suffix(active.size());
      take(name, number_of(text));
    }
  });
}

}  // namespace

std::uint64_t read_open_connections(std::string_view stats) {
  std::uint64_t open = 0;
  each_kind_of_connection(stats, [&](std::string_view, std::uint64_t count) { open += count; });
  return open;
}

std::string name_open_connections(std::string_view stats) {
  std::vector<std::string> open;
  each_kind_of_connection(stats, [&](std::string_view kind, std::uint64_t count) {
    if (count > 0) open.push_back(fmt::format("{} of {}", count, kind));
  });
  return fmt::format("{}", fmt::join(open, ", "));
}

std::string read_last_words(std::string_view written) {
  constexpr std::size_t most = 1500;
  std::string text;
  while (!written.empty()) {
    const auto line = written.substr(0, written.find('\n'));
    written.remove_prefix(std::min(written.size(), line.size() + 1));
    if (line.find("] #") == std::string_view::npos) text += std::string(line) + '\n';
  }
  if (text.size() > most) text.erase(0, text.find('\n', text.size() - most) + 1);
  return text;
}

std::uint64_t read_refusals(std::string_view stats) {
  std::uint64_t refusals = 0;
  each_statistic(stats, [&](std::string_view name, std::string_view value) {
    if (name.ends_with(".update_rejected") || name.ends_with(".update_failure")) {
      refusals += number_of(value);
    }
  });
  return refusals;
}

Result<std::string> read_version(std::string_view said, std::string_view program) {
  constexpr std::string_view before = "version: ";
  const auto at = said.find(before);
  if (at == std::string_view::npos) {
    return base::fail(ErrorKind::input, "{}: is no Envoy, for to --version it answers \"{}\"",
                      program,
                      base::printable(said.substr(0, said.find('\n')), base::Charset::ascii));
  }
  said.remove_prefix(at + before.size());
  return std::string(said.substr(0, said.find('\n')));
}

Result<std::int64_t> read_cpu_usage(std::string_view cpu_stat) {
  constexpr std::string_view field = "usage_usec ";
  const auto at = cpu_stat.find(field);
  if (at == std::string_view::npos) {
    return base::fail(ErrorKind::input, "cpu.stat: no usage_usec");
  }
  return static_cast<std::int64_t>(number_of(cpu_stat.substr(at + field.size()))) * 1000;
}

}  // namespace cluster
