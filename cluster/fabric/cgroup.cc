#include "cluster/fabric/cgroup.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <memory>
#include <tuple>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Result;
using base::UniqueFd;

constexpr std::string_view prefix = "stackbench-";
constexpr auto end_patience = std::chrono::seconds(5);
// How long a dead owner's lock may live on in a child it was just making: from fork to exec.
constexpr auto lock_patience = std::chrono::seconds(1);

template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size() || text.empty()) return {};
  return value;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const auto end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// mountinfo writes space, tab, newline and backslash as \040 and so on.
std::string unescape(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      const auto digit = [&](std::size_t at) { return text[at] - '0'; };
      plain += static_cast<char>(digit(i + 1) * 64 + digit(i + 2) * 8 + digit(i + 3));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

Result<std::vector<std::string>> subdirectories(const std::string& path) {
  const auto close = [](DIR* directory) { ::closedir(directory); };
  const std::unique_ptr<DIR, decltype(close)> directory(::opendir(path.c_str()), close);
  if (!directory) return base::system_error(errno, "{}", path);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..") names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool is_populated(const std::string& path) {
  const auto events = base::read_file(path + "/cgroup.events", 4096);
  return events && events->find("populated 1") != std::string::npos;
}

// Waits for the kernel to let go of killed processes; cgroup.events wakes poll(2) with POLLPRI when
// it changes (cgroup-v2.rst, "Un-populated Notification").
Result<> wait_until_empty(const std::string& path) {
  const UniqueFd events(::open((path + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
  if (!events) return base::system_error(errno, "{}/cgroup.events", path);
  const auto deadline = std::chrono::steady_clock::now() + end_patience;
  while (is_populated(path)) {
    if (std::chrono::steady_clock::now() > deadline) {
      return base::fail(ErrorKind::timed_out, "{}: killed processes are still there", path);
    }
    pollfd watched{.fd = events.get(), .events = POLLPRI, .revents = 0};
    // Bounded, because a change between the look and the wait would not wake us.
    ::poll(&watched, 1, 50);
  }
  return {};
}

// From the leaves up; goes on after an error and returns the first.
Result<> remove_directories(const std::string& path) {
  Result<> outcome;
  if (const auto below = subdirectories(path)) {
    for (const auto& name : *below) {
      auto removed = remove_directories(fmt::format("{}/{}", path, name));
      if (!removed && outcome) outcome = std::move(removed);
    }
  }
  if (::rmdir(path.c_str()) < 0 && errno != ENOENT && outcome) {
    outcome = base::system_error(errno, "rmdir {}", path);
  }
  return outcome;
}

bool is_locked(const std::string& path) {
  const UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return directory && ::flock(directory.get(), LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

// Of a directory just made for a tree: open, and locked for its owner.
Result<UniqueFd> lock_directory(const std::string& path) {
  UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::flock(directory.get(), LOCK_EX | LOCK_NB) < 0) {
    return base::system_error(errno, "locking {}", path);
  }
  return directory;
}

}  // namespace

Result<RunId> RunId::next() {
  static std::atomic<unsigned> serial{0};
  const auto ticks = start_ticks_of(::getpid());
  if (!ticks) return base::fail(ErrorKind::system, "/proc/self/stat: no start time");
  return RunId{.pid = ::getpid(), .start_ticks = *ticks, .serial = serial++};
}

std::string RunId::to_string() const {
  return fmt::format("{}{}-{}-{}", prefix, pid, start_ticks, serial);
}

std::optional<RunId> RunId::parse(std::string_view directory) {
  if (!directory.starts_with(prefix)) return {};
  const auto parts = split(directory.substr(prefix.size()), '-');
  if (parts.size() != 3) return {};
  const auto pid = parse_number<pid_t>(parts[0]);
  const auto ticks = parse_number<std::uint64_t>(parts[1]);
  const auto serial = parse_number<unsigned>(parts[2]);
  if (!pid || !ticks || !serial || *pid <= 0) return {};
  return RunId{.pid = *pid, .start_ticks = *ticks, .serial = *serial};
}

std::optional<std::uint64_t> parse_start_ticks(std::string_view stat_line) {
  const auto command_end = stat_line.rfind(')');
  if (command_end == std::string_view::npos || command_end + 2 > stat_line.size()) return {};
  const auto fields = split(stat_line.substr(command_end + 2), ' ');
  // The first of these is field 3, the state.
  constexpr std::size_t start_time = 22 - 3;
  if (fields.size() <= start_time) return {};
  return parse_number<std::uint64_t>(fields[start_time]);
}

bool is_ending(std::string_view stat_line) {
  const auto command_end = stat_line.rfind(')');
  if (command_end == std::string_view::npos || command_end + 2 > stat_line.size()) return false;
  const auto fields = split(stat_line.substr(command_end + 2), ' ');
  constexpr std::size_t flags_field = 9 - 3;
  constexpr std::uint64_t exiting = 0x4;  // PF_EXITING of the kernel's sched.h
  if (fields.size() <= flags_field) return false;
  const auto flags = parse_number<std::uint64_t>(fields[flags_field]);
  return fields.front() == "Z" || (flags && (*flags & exiting) != 0);
}

std::optional<std::uint64_t> start_ticks_of(pid_t pid) {
  const auto line = base::read_file(fmt::format("/proc/{}/stat", pid), 4096);
  return line && !is_ending(*line) ? parse_start_ticks(*line) : std::nullopt;
}

Result<std::string> find_cgroup2(std::string_view mountinfo) {
  std::string below_root;
  for (const auto line : split(mountinfo, '\n')) {
    // "41 31 0:38 /root /mount/point options optional-fields - type source super-options"
    const auto type = line.find(" - cgroup2 ");
    const auto fields = split(line, ' ');
    if (type == std::string_view::npos || fields.size() < 5) continue;
    if (fields[3] == "/") return unescape(fields[4]);
    if (below_root.empty()) below_root = unescape(fields[4]);
  }
  if (!below_root.empty()) return below_root;
  return base::fail_with_mend(ErrorKind::missing, "no cgroup2 hierarchy is mounted",
                              "Mount one: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none "
                              "/sys/fs/cgroup/unified");
}

Result<std::string> find_cgroup2() {
  ASSIGN_OR_RETURN(const std::string mountinfo, base::read_file("/proc/self/mountinfo"));
  return find_cgroup2(mountinfo);
}

Result<std::vector<CgroupHierarchy>> find_hierarchies() {
  ASSIGN_OR_RETURN(const std::string mountinfo, base::read_file("/proc/self/mountinfo"));
  return find_hierarchies(mountinfo);
}

std::vector<CgroupHierarchy> find_hierarchies(std::string_view mountinfo) {
  struct Found {
    CgroupHierarchy hierarchy;
    std::string_view device;
    bool whole = false;
  };
  std::vector<Found> all;
  for (const auto line : split(mountinfo, '\n')) {
    const auto separator = line.find(" - ");
    if (separator == std::string_view::npos) continue;
    const auto fields = split(line, ' ');
    const auto kind = split(line.substr(separator + 3), ' ');
    if (fields.size() < 5 || (kind.front() != "cgroup" && kind.front() != "cgroup2")) continue;
    Found found{
        .hierarchy = {.path = unescape(fields[4]), .version = kind.front() == "cgroup" ? 1 : 2},
        .device = fields[2],
        .whole = fields[3] == "/"};
    // One hierarchy may be mounted in several places; one that shows its root comes first.
    const auto before = std::ranges::find(all, found.device, &Found::device);
    if (before == all.end()) {
      all.push_back(std::move(found));
    } else if (found.whole && !before->whole) {
      *before = std::move(found);
    }
  }
  std::vector<CgroupHierarchy> hierarchies;
  for (auto& found : all) hierarchies.push_back(std::move(found.hierarchy));
  return hierarchies;
}

Result<CgroupTree> CgroupTree::create() {
  ASSIGN_OR_RETURN(const std::string root, find_cgroup2());
  ASSIGN_OR_RETURN(const RunId id, RunId::next());
  return create_in(root, id);
}

Result<CgroupTree> CgroupTree::create_in(const std::string& hierarchy, const RunId& id) {
  std::string path = hierarchy + "/" + id.to_string();
  if (::mkdir(path.c_str(), 0755) < 0) return base::system_error(errno, "mkdir {}", path);
  CgroupTree tree(std::move(path), {});
  auto lock = lock_directory(tree.path_);
  if (!lock) {
    ::rmdir(tree.path_.c_str());
    return std::unexpected(std::move(lock).error());
  }
  tree.lock_ = std::move(*lock);
  return tree;
}

CgroupTree::~CgroupTree() { std::ignore = remove(); }

Result<std::string> CgroupTree::make(const std::string& relative) const {
  std::string path = path_;
  for (const auto part : split(relative, '/')) {
    path += '/';
    path += part;
    if (::mkdir(path.c_str(), 0755) < 0 && errno != EEXIST) {
      return base::system_error(errno, "mkdir {}", path);
    }
  }
  return path;
}

Result<> CgroupTree::remove() {
  if (!lock_) return {};
  RETURN_IF_ERROR(remove_cgroup_tree(path_));
  lock_.reset();
  return {};
}

Result<> remove_cgroup_tree(const std::string& path) {
  if (::access(path.c_str(), F_OK) < 0 && errno == ENOENT) return {};
  if (is_populated(path)) {
    const UniqueFd kill(::open((path + "/cgroup.kill").c_str(), O_WRONLY | O_CLOEXEC));
    if (!kill || ::write(kill.get(), "1", 1) < 0) {
      return base::system_error(errno, "{}/cgroup.kill", path);
    }
    RETURN_IF_ERROR(wait_until_empty(path));
  }
  // A v1 hierarchy has no cgroup.events to wait on: asked again until its last process is gone.
  const auto deadline = std::chrono::steady_clock::now() + end_patience;
  auto removed = remove_directories(path);
  while (!removed && removed.error().code == EBUSY && std::chrono::steady_clock::now() < deadline) {
    ::poll(nullptr, 0, 10);
    removed = remove_directories(path);
  }
  return removed;
}

bool is_abandoned(const RunId& owner, std::optional<std::uint64_t> start_ticks_of_pid,
                  bool locked) {
  return !locked && start_ticks_of_pid != owner.start_ticks;
}

Result<std::vector<std::string>> abandoned_trees(const std::string& cgroup2) {
  ASSIGN_OR_RETURN(const auto names, subdirectories(cgroup2));
  const auto deadline = std::chrono::steady_clock::now() + lock_patience;
  std::vector<std::string> found;
  for (const auto& name : names) {
    const auto owner = RunId::parse(name);
    if (!owner) continue;
    auto path = fmt::format("{}/{}", cgroup2, name);
    const auto ticks = start_ticks_of(owner->pid);
    bool locked = is_locked(path);
    while (locked && ticks != owner->start_ticks && std::chrono::steady_clock::now() < deadline) {
      ::poll(nullptr, 0, 10);
      locked = is_locked(path);
    }
    if (is_abandoned(*owner, ticks, locked)) found.push_back(std::move(path));
  }
  return found;
}

}  // namespace cluster
