#include "cluster/processes/component_set.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <tuple>
#include <utility>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cluster::processes {
namespace {

namespace fs = std::filesystem;
using base::Result;

constexpr std::uintmax_t most_log_bytes = std::uintmax_t{16} << 20;
constexpr off_t most_last_bytes = 1500;

}  // namespace

std::string last_lines(const std::string& path) {
  const base::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status{};
  if (!file || ::fstat(file.get(), &status) < 0) return {};
  const off_t start = std::max<off_t>(0, status.st_size - most_last_bytes);
  std::string text(static_cast<std::size_t>(most_last_bytes), '\0');
  const ssize_t count = ::pread(file.get(), text.data(), text.size(), start);
  text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  // A line that is cut says less than none.
  const auto first_whole = text.find('\n');
  if (start > 0 && first_whole != std::string::npos) text.erase(0, first_whole + 1);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

Result<> ComponentSet::start(const ComponentPlan& plan, const Sandbox& sandbox,
                             const Place& place) {
  const auto path = directory_.log(plan.name);
  // Appending, so that a log that is cut goes on at its start.
  const base::UniqueFd log(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644));
  if (!log) return base::system_error(errno, "{}", path);
  auto environment = environment_;
  environment.insert(environment.end(), plan.environment.begin(), plan.environment.end());
  auto process = sandbox.spawn({.argv = plan.argv,
                                .environment = std::move(environment),
                                .out = base::Stdio::descriptor(log.get()),
                                .err = base::Stdio::descriptor(log.get())},
                               place);
  if (!process) return base::in_context(std::move(process).error(), "{}", plan.name);
  ComponentState state{.name = plan.name, .node = plan.node, .pid = process->pid()};
  all_.push_back({std::move(state), std::move(*process)});
  return {};
}

std::vector<ComponentState> ComponentSet::take_ended() {
  std::vector<ComponentState> ended;
  for (auto& [state, process] : all_) {
    if (state.ended) continue;
    const auto status = process.wait(base::Duration::zero());
    if (!status) continue;  // it runs
    state.ended = status->to_string();
    state.last_words = last_lines(directory_.log(state.name));
    ended.push_back(state);
  }
  return ended;
}

std::vector<ComponentState> ComponentSet::states() const {
  std::vector<ComponentState> states;
  for (const auto& running : all_) states.push_back(running.state);
  return states;
}

void ComponentSet::add_to(std::vector<pollfd>& watched) const {
  for (const auto& [state, process] : all_) {
    if (!state.ended) watched.push_back({.fd = process.pidfd(), .events = POLLIN, .revents = 0});
  }
}

void ComponentSet::trim_logs() const {
  for (const auto& [state, process] : all_) {
    const auto path = directory_.log(state.name);
    std::error_code code;
    if (fs::file_size(path, code) <= most_log_bytes || code) continue;
    fs::copy_file(path, path + ".1", fs::copy_options::overwrite_existing, code);
    std::ignore = ::truncate(path.c_str(), 0);
  }
}

Result<> ComponentSet::end() {
  // All at once, then one after the other: they end side by side.
  for (auto& [state, process] : all_) std::ignore = process.signal(SIGKILL);
  Result<> outcome;
  for (auto& [state, process] : all_) {
    if (auto killed = process.kill(); !killed && outcome) {
      outcome = base::in_context(std::move(killed).error(), "{}", state.name);
    }
  }
  if (outcome) all_.clear();
  return outcome;
}

}  // namespace cluster::processes
