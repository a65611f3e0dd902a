#include "cluster/kubernetes/kubectl_proxy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cluster/kubernetes/until.h"

namespace cluster {
namespace {

namespace fs = std::filesystem;
using base::ErrorKind;
using base::Result;
using base::UniqueFd;

constexpr base::Duration start_patience = std::chrono::seconds(20);
constexpr std::string_view directory_prefix = "stackbench-api-";
constexpr std::string_view listening = "Starting to serve on";

std::string temporary_directory() {
  const char* named = std::getenv("TMPDIR");
  return named != nullptr && *named != '\0' ? named : "/tmp";
}

// The process a directory's name begins with; 0, which is no process's, for any other name.
pid_t owner_of(const fs::path& directory) {
  const auto name = directory.filename().string();
  pid_t pid = 0;
  if (name.starts_with(directory_prefix)) {
    std::from_chars(name.data() + directory_prefix.size(), name.data() + name.size(), pid);
  }
  return pid;
}

// The lock of a directory whose run is gone; empty where it lives, or is not ours to look at. A
// process that is alive may be about to lock its own.
UniqueFd lock_if_dead(const fs::path& directory) {
  const auto owner = owner_of(directory);
  if (owner == 0 || ::kill(owner, 0) == 0) return {};
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) < 0) fd.reset();
  return fd;
}

}  // namespace

std::vector<std::string> kubectl_command(const KubectlOptions& options) {
  std::vector<std::string> argv{options.kubectl.empty() ? "kubectl" : options.kubectl};
  if (!options.kubeconfig.empty()) argv.push_back("--kubeconfig=" + options.kubeconfig);
  if (!options.context.empty()) argv.push_back("--context=" + options.context);
  return argv;
}

Result<KubectlProxy> KubectlProxy::start(const KubectlOptions& options,
                                         const base::Interrupt* interrupt) {
  std::string directory =
      fmt::format("{}/{}{}-XXXXXX", temporary_directory(), directory_prefix, ::getpid());
  if (::mkdtemp(directory.data()) == nullptr) return base::system_error(errno, "{}", directory);
  UniqueFd lock(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock) return base::system_error(errno, "{}", directory);
  KubectlProxy proxy(std::move(directory), std::move(lock));
  if (::flock(proxy.lock_.get(), LOCK_EX | LOCK_NB) < 0) {
    return base::system_error(errno, "lock {}", proxy.directory_);
  }
  RETURN_IF_ERROR(proxy.spawn(options));
  RETURN_IF_ERROR(proxy.await_listening(interrupt));
  return proxy;
}

Result<> KubectlProxy::spawn(const KubectlOptions& options) {
  words_.reset(::memfd_create("stackbench-kubectl", MFD_CLOEXEC));
  if (!words_) return base::system_error(errno, "memfd_create");
  auto argv = kubectl_command(options);
  argv.insert(argv.end(), {"proxy", "--unix-socket=" + socket(),
                           // It refuses exec and attach unless told what else to refuse: nothing.
                           "--reject-paths=^$"});
  auto spawned = base::Process::spawn({.argv = std::move(argv),
                                       .out = base::Stdio::pipe(),
                                       .err = base::Stdio::descriptor(words_.get())});
  if (!spawned) {
    auto error = std::move(spawned).error();
    if (error.kind == ErrorKind::missing) {
      error.mend = "Install kubectl: a run reaches the cluster by way of it.";
    }
    return std::unexpected(std::move(error));
  }
  child_ = std::make_unique<base::Process>(std::move(*spawned));
  return {};
}

Result<> KubectlProxy::await_listening(const base::Interrupt* interrupt) {
  const auto until = Until::after(start_patience, interrupt);
  std::string said;
  while (said.find(listening) == std::string::npos) {
    RETURN_IF_ERROR(wait_for(child_->out.get(), POLLIN, until));
    std::array<char, 4096> chunk;
    const auto count = ::read(child_->out.get(), chunk.data(), chunk.size());
    if (count < 0 && errno != EINTR) return base::system_error(errno, "kubectl proxy");
    if (count > 0) said.append(chunk.data(), static_cast<std::size_t>(count));
    if (count != 0) continue;
    // Its stdout closes before it is gone.
    const auto ended = child_->wait(std::chrono::seconds(5));
    const auto words = last_words();
    return base::fail_with_mend(
        ErrorKind::input,
        fmt::format("kubectl proxy ended ({}){}{}", ended ? ended->to_string() : "still running",
                    words.empty() ? "" : ": ", words),
        "Look at the kubeconfig and the context: kubectl config get-contexts lists them.");
  }
  return {};
}

KubectlProxy::~KubectlProxy() {
  if (directory_.empty()) return;
  child_.reset();
  std::error_code ignored;
  fs::remove_all(directory_, ignored);
}

std::string KubectlProxy::last_words() const {
  constexpr std::size_t longest = 2000;
  const auto size = ::lseek(words_.get(), 0, SEEK_END);
  if (size <= 0) return {};
  std::string words(std::min(static_cast<std::size_t>(size), longest), '\0');
  const auto count =
      ::pread(words_.get(), words.data(), words.size(), size - static_cast<off_t>(words.size()));
  words.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  while (!words.empty() && words.back() == '\n') words.pop_back();
  return words;
}

base::Error KubectlProxy::explain(base::Error error) {
  const auto ended = child_->wait(base::Duration(0));
  if (!ended) return error;
  const auto words = last_words();
  error.message = fmt::format("{}; kubectl proxy has ended ({}){}{}", error.message,
                              ended->to_string(), words.empty() ? "" : ": ", words);
  return error;
}

Result<std::vector<std::string>> clean_proxies(bool dry_run) {
  std::vector<std::string> found;
  std::error_code problem;
  for (fs::directory_iterator entry(temporary_directory(), problem), end; !problem && entry != end;
       entry.increment(problem)) {
    const auto& path = entry->path();
    const auto lock = lock_if_dead(path);
    if (!lock) continue;
    found.push_back(fmt::format("socket of an ended run: {}", path.string()));
    if (dry_run) continue;
    fs::remove_all(path, problem);
    if (problem) return base::system_error(problem.value(), "remove {}", path.string());
  }
  if (problem) return base::system_error(problem.value(), "{}", temporary_directory());
  return found;
}

}  // namespace cluster
