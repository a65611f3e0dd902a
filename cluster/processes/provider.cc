#include "cluster/processes/provider.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <system_error>
#include <tuple>
#include <utility>

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/pidfd.h"
#include "base/process.h"
#include "cluster/processes/images.h"
#include "cluster/processes/remains.h"
#include "cluster/processes/starting.h"
#include "cluster/processes/supervisor.h"

namespace cluster::processes {
namespace {

namespace fs = std::filesystem;
using base::ErrorKind;
using base::Result;

constexpr base::Duration end_patience = std::chrono::seconds(60);
constexpr base::Duration import_patience = std::chrono::seconds(120);
constexpr base::Duration kill_patience = std::chrono::seconds(10);

std::string how_to_end(const std::string& name) {
  return fmt::format("End it first: stackbench down{}",
                     name == default_name ? "" : " --name " + name);
}

Result<> check_root() {
  if (::geteuid() == 0) return {};
  return base::fail_with_mend(ErrorKind::not_permitted,
                              "a cluster of processes needs root: it makes namespaces and cgroups",
                              "Run the same command as root, for example with sudo.");
}

// Whether the process behind the pidfd ended in time. Errors: interrupted, system.
Result<bool> wait_for_end(int pidfd, base::Duration patience, int interrupt_fd) {
  const auto deadline = base::monotonic_now() + patience;
  while (true) {
    pollfd watched[2] = {{.fd = pidfd, .events = POLLIN, .revents = 0},
                         {.fd = interrupt_fd, .events = POLLIN, .revents = 0}};
    const auto left = deadline - base::monotonic_now();
    const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    const int ready = ::poll(static_cast<pollfd*>(watched), 2,
                             static_cast<int>(std::max<std::int64_t>(0, milliseconds)));
    if (ready < 0 && errno != EINTR) return base::system_error(errno, "poll");
    if (watched[0].revents != 0) return true;
    if (watched[1].revents != 0) {
      return base::fail(ErrorKind::interrupted, "interrupted while a cluster ends");
    }
    if (ready == 0) return false;
  }
}

// Ends a supervisor: as it wants, and by force where it does not.
Result<> end_supervisor(const ClusterState& state, const base::Interrupt& interrupt) {
  const base::UniqueFd pidfd(::pidfd_open(static_cast<pid_t>(state.supervisor), 0));
  // Looked at again with the descriptor open: it is of the process that was meant, or of none.
  if (!pidfd || !supervisor_lives(state)) return {};
  const std::pair<int, base::Duration> ways[] = {{SIGTERM, end_patience}, {SIGKILL, kill_patience}};
  for (const auto& [signal, patience] : ways) {
    if (::pidfd_send_signal(pidfd.get(), signal, nullptr, 0) < 0 && errno != ESRCH) {
      return base::system_error(errno, "signal {} to process {}", signal, state.supervisor);
    }
    ASSIGN_OR_RETURN(const bool ended, wait_for_end(pidfd.get(), patience, interrupt.fd()));
    if (ended) return {};
  }
  return base::fail(ErrorKind::timed_out, "cluster {}: its supervisor {} does not end",
                    state.shape.name, state.supervisor);
}

// Of a cluster that is up: what was built since.
Result<> import_new_images(const ClusterState& state, const Directory& directory,
                           const Tools& tools, const base::Interrupt& interrupt,
                           const Progress& progress) {
  const auto run = [&](int node, const std::vector<std::string>& argv) -> Result<> {
    const auto init = state.nodes.at(static_cast<std::size_t>(node - 1)).init;
    std::vector<std::string> entered{"nsenter", "-t", std::to_string(init), "-m", "-u", "-n", "-p"};
    entered.insert(entered.end(), argv.begin(), argv.end());
    RETURN_IF_ERROR(base::run_for_output(
        entered, {.timeout = import_patience, .interrupt_fd = interrupt.fd()}));
    return {};
  };
  ASSIGN_OR_RETURN(const auto imported, import_images(directory, tools, state.shape, run));
  for (const auto& name : imported) progress(fmt::format("image {} taken in", name));
  return {};
}

}  // namespace

Result<std::optional<ClusterState>> Provider::find(const std::string& name) const {
  auto state = read_state(directory_of(name));
  if (state) return std::optional(std::move(*state));
  if (state.error().code == ENOENT || state.error().kind == ErrorKind::missing) {
    return std::optional<ClusterState>();
  }
  return std::unexpected(std::move(state).error());
}

Result<std::vector<std::string>> Provider::names() const {
  std::error_code code;
  std::vector<std::string> names;
  for (fs::directory_iterator entry(directory_, code), end; !code && entry != end;
       entry.increment(code)) {
    auto name = entry->path().filename().string();
    if (check_name(name)) names.push_back(std::move(name));
  }
  if (code && code != std::errc::no_such_file_or_directory) {
    return base::system_error(code.value(), "{}", directory_);
  }
  std::ranges::sort(names);
  return names;
}

Result<std::optional<ClusterState>> Provider::already_up(const Shape& shape) const {
  ASSIGN_OR_RETURN(auto state, find(shape.name));
  if (!state || !supervisor_lives(*state)) return std::optional<ClusterState>();
  if (state->shape != shape) {
    return base::fail_with_mend(ErrorKind::usage,
                                fmt::format("cluster {} is up with another shape: {}, not {}",
                                            shape.name, to_string(state->shape), to_string(shape)),
                                how_to_end(shape.name) + " (or give this one another --name)");
  }
  if (state->phase == Phase::ready) return state;
  return base::fail_with_mend(ErrorKind::usage,
                              fmt::format("cluster {} is {}, see stackbench status", shape.name,
                                          base::enum_name(state->phase)),
                              how_to_end(shape.name));
}

Result<ClusterState> Provider::up(const Shape& shape, const base::Interrupt& interrupt,
                                  const Progress& progress) const {
  RETURN_IF_ERROR(check_root());
  ASSIGN_OR_RETURN(auto there, already_up(shape));
  ASSIGN_OR_RETURN(const auto tools, find_tools(shape));
  if (there) {
    RETURN_IF_ERROR(
        import_new_images(*there, directory_of(shape.name), tools, interrupt, progress));
    return *there;
  }
  const auto directory = directory_of(shape.name);
  RETURN_IF_ERROR(start_supervisor(shape, directory, tools.root, interrupt, progress));
  return read_state(directory);
}

Result<> Provider::up_in_foreground(
    const Shape& shape, const base::Interrupt& interrupt, const Progress& progress,
    const std::function<Result<>(const ClusterState&)>& ready) const {
  RETURN_IF_ERROR(check_root());
  ASSIGN_OR_RETURN(const auto there, already_up(shape));
  if (there) {
    return base::fail_with_mend(ErrorKind::usage,
                                fmt::format("cluster {} is up already, and kept by process {}",
                                            shape.name, there->supervisor),
                                how_to_end(shape.name));
  }
  ASSIGN_OR_RETURN(auto tools, find_tools(shape));
  Supervisor supervisor(shape, directory_of(shape.name), std::move(tools),
                        {.interrupt_fd = interrupt.fd()}, progress);
  auto done = supervisor.bring_up();
  if (done) done = ready(supervisor.state());
  if (done) done = supervisor.watch();
  auto ended = supervisor.end();
  return done ? ended : done;
}

Result<> Provider::remove_dead(const std::string& name) const {
  const auto directory = directory_of(name);
  ASSIGN_OR_RETURN(const auto lock, lock_directory(directory));
  RETURN_IF_ERROR(remove_remains(directory));
  return remove_directory(directory);
}

Result<bool> Provider::down(const std::string& name, const base::Interrupt& interrupt) const {
  RETURN_IF_ERROR(check_root());
  const auto directory = directory_of(name);
  if (::access(directory.path().c_str(), F_OK) < 0) return false;
  // A state that cannot be read names no supervisor; its lock, if it lives, is then in the way.
  if (const auto state = find(name); state && *state) {
    RETURN_IF_ERROR(end_supervisor(**state, interrupt));
  }
  if (::access(directory.path().c_str(), F_OK) < 0) return true;
  RETURN_IF_ERROR(remove_dead(name));
  return true;
}

Result<std::vector<std::string>> Provider::clean(bool dry_run) const {
  ASSIGN_OR_RETURN(const auto all, names());
  std::vector<std::string> found;
  Result<> outcome;
  for (const auto& name : all) {
    const auto state = find(name);
    if (state && *state && supervisor_lives(**state)) continue;
    // Without a state it is the logs of a failed start, or one that another process begins just
    // now.
    const auto lock = lock_directory(directory_of(name));
    if (!lock) continue;
    found.push_back(fmt::format("what is left of cluster {}: {}", name, directory_of(name).path()));
    if (dry_run) continue;
    auto removed = remove_remains(directory_of(name));
    if (removed) removed = remove_directory(directory_of(name));
    if (!removed && outcome) outcome = std::move(removed);
  }
  if (!outcome) return std::unexpected(std::move(outcome).error());
  return found;
}

}  // namespace cluster::processes
