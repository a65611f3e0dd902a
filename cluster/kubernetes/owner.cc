#include "cluster/kubernetes/owner.h"

#include <cerrno>
#include <charconv>
#include <csignal>
#include <functional>
#include <map>

#include <fmt/format.h>
#include <unistd.h>

#include "base/file.h"

namespace cluster {
namespace {

std::string first_line(const std::string& path) {
  auto text = base::read_file(path).value_or("");
  return text.substr(0, text.find('\n'));
}

// Of the machine's id only what tells it from others.
std::string machine_hash() {
  const auto id = first_line("/etc/machine-id");
  return id.empty() ? "none" : fmt::format("{:08x}", std::hash<std::string>{}(id) & 0xffffffffU);
}

std::string pid_namespace() {
  std::string link(64, '\0');
  const auto length = ::readlink("/proc/self/ns/pid", link.data(), link.size());
  link.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
  const auto open = link.find('[');
  const auto close = link.find(']');
  return close == std::string::npos ? "none" : link.substr(open + 1, close - open - 1);
}

// When a process started, in ticks since boot: with its pid it is one process and no other. Empty
// where there is no such process.
std::string start_of(const std::string& pid) {
  const auto stat = base::read_file("/proc/" + pid + "/stat").value_or("");
  // The command's name is in parentheses and may hold anything; the start is the 20th after it.
  auto at = stat.rfind(')');
  for (int field = 0; field < 20 && at != std::string::npos; ++field) at = stat.find(' ', at + 1);
  if (at == std::string::npos) return {};
  return stat.substr(at + 1, stat.find(' ', at + 1) - at - 1);
}

bool exists(const std::string& pid) {
  pid_t number = 0;
  std::from_chars(pid.data(), pid.data() + pid.size(), number);
  return number > 0 && (::kill(number, 0) == 0 || errno != ESRCH);
}

std::map<std::string, std::string> fields_of(const std::string& owner) {
  std::map<std::string, std::string> fields;
  std::size_t at = 0;
  while (at < owner.size()) {
    const auto end = std::min(owner.find(' ', at), owner.size());
    const auto equals = owner.find('=', at);
    if (equals < end) {
      fields[owner.substr(at, equals - at)] = owner.substr(equals + 1, end - equals - 1);
    }
    at = end + 1;
  }
  return fields;
}

}  // namespace

std::string owner_of_ours() {
  std::string host(256, '\0');
  if (::gethostname(host.data(), host.size() - 1) < 0) host.clear();
  const auto pid = std::to_string(::getpid());
  return fmt::format("host={} machine={} boot={} pids={} pid={} start={}", host.c_str(),
                     machine_hash(), first_line("/proc/sys/kernel/random/boot_id"), pid_namespace(),
                     pid, start_of(pid));
}

OwnerLife life_of(const std::string& owner) {
  auto theirs = fields_of(owner);
  auto ours = fields_of(owner_of_ours());
  if (theirs["boot"] != ours["boot"]) {
    // The same machine, started anew since.
    const bool same = theirs["machine"] == ours["machine"] && ours["machine"] != "none";
    return same ? OwnerLife::gone : OwnerLife::unknown;
  }
  if (theirs["pids"] != ours["pids"] || theirs["pid"].empty()) return OwnerLife::unknown;
  const auto start = start_of(theirs["pid"]);
  if (start == theirs["start"]) return OwnerLife::alive;
  // One that /proc hides from this user (hidepid) may be alive.
  if (start.empty() && exists(theirs["pid"])) return OwnerLife::unknown;
  return OwnerLife::gone;
}

std::string machine_of(const std::string& owner) {
  const auto host = fields_of(owner)["host"];
  return host.empty() ? "another machine" : host;
}

}  // namespace cluster
