#include "bench/agent/listener.h"

#include <array>
#include <cstring>
#include <filesystem>
#include <string_view>

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench/agent/line.h"

namespace bench {
namespace {

using base::ErrorKind;
using base::Result;
using base::UniqueFd;

// A new socket is made under this name beside the old one, and then takes its place.
constexpr std::string_view unready = ".new";
constexpr std::size_t longest_path = sizeof(sockaddr_un::sun_path) - 1 - unready.size();

Result<sockaddr_un> address_of(const std::string& path) {
  if (path.empty() || path.size() > longest_path + unready.size()) {
    return base::fail(ErrorKind::input, "socket {}: expected a path of 1 to {} bytes", path,
                      longest_path);
  }
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

Result<UniqueFd> unix_socket() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return base::system_error(errno, "socket");
  return fd;
}

std::string directory_of(const std::string& path) {
  auto directory = std::filesystem::path(path).parent_path().string();
  return directory.empty() ? "." : directory;
}

Result<> check_directory(const std::string& path) {
  const std::string directory = directory_of(path);
  struct stat status{};
  if (::stat(directory.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) return {};
  return base::fail_with_mend(ErrorKind::missing, fmt::format("{}: no such directory", directory),
                              "Mount an emptyDir there, or name another place with --socket.");
}

// Whether what is at `path` may be replaced: nothing, or a socket that nobody listens on.
Result<> check_place(const std::string& path) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) < 0) {
    if (errno == ENOENT) return {};
    return base::system_error(errno, "{}", path);
  }
  if (!S_ISSOCK(status.st_mode)) {
    return base::fail(ErrorKind::input, "{}: exists, and is no socket", path);
  }
  ASSIGN_OR_RETURN(const sockaddr_un address, address_of(path));
  ASSIGN_OR_RETURN(const UniqueFd probe, unix_socket());
  if (::connect(probe.get(), generic(address), sizeof(address)) == 0) {
    return base::fail(ErrorKind::input, "{}: another agent listens there", path);
  }
  if (errno == ECONNREFUSED || errno == ENOENT) return {};
  return base::system_error(errno, "{}", path);
}

}  // namespace

Result<Listener> Listener::open(const std::string& path) {
  const std::string fresh = path + std::string(unready);
  ASSIGN_OR_RETURN(const sockaddr_un address, address_of(fresh));
  RETURN_IF_ERROR(check_directory(path));
  RETURN_IF_ERROR(check_place(path));
  ASSIGN_OR_RETURN(UniqueFd fd, unix_socket());
  ::unlink(fresh.c_str());
  if (::bind(fd.get(), generic(address), sizeof(address)) < 0) {
    return base::system_error(errno, "bind {}", fresh);
  }
  struct stat status{};
  // A connection may be gone again before it is accepted; then there is none, and no wait for one.
  const bool ready = ::chmod(fresh.c_str(), S_IRUSR | S_IWUSR) == 0 &&
                     ::listen(fd.get(), 16) == 0 && ::fcntl(fd.get(), F_SETFL, O_NONBLOCK) == 0 &&
                     ::stat(fresh.c_str(), &status) == 0 &&
                     ::rename(fresh.c_str(), path.c_str()) == 0;
  if (ready) return Listener(std::move(fd), path, status.st_ino);
  const int code = errno;
  ::unlink(fresh.c_str());
  return base::system_error(code, "listen at {}", path);
}

Listener::~Listener() {
  if (!fd_) return;
  // Somebody may have removed it, and another agent have taken its place.
  struct stat status{};
  if (::lstat(path_.c_str(), &status) == 0 && status.st_ino == inode_) ::unlink(path_.c_str());
}

Result<UniqueFd> Listener::accept() const {
  UniqueFd connection(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (connection || errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return connection;
  return base::system_error(errno, "accept");
}

Result<UniqueFd> connect_to_agent(const std::string& path, base::MonotonicTime deadline) {
  ASSIGN_OR_RETURN(const sockaddr_un address, address_of(path));
  RETURN_IF_ERROR(check_directory(path));
  // Watched before the first try, so that a socket made in between is not missed.
  const UniqueFd changes(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!changes ||
      ::inotify_add_watch(changes.get(), directory_of(path).c_str(), IN_CREATE | IN_MOVED_TO) < 0) {
    return base::system_error(errno, "inotify at {}", directory_of(path));
  }
  while (true) {
    ASSIGN_OR_RETURN(UniqueFd fd, unix_socket());
    if (::connect(fd.get(), generic(address), sizeof(address)) == 0) return fd;
    // Not there yet; or there, and its agent was killed: another one will replace it.
    const int code = errno;
    if (code != ENOENT && code != ECONNREFUSED && code != EINTR) {
      return base::system_error(code, "{}", path);
    }
    pollfd watched{.fd = changes.get(), .events = POLLIN, .revents = 0};
    const int ready = ::poll(&watched, 1, poll_timeout(deadline));
    if (ready == 0) {
      return base::fail(ErrorKind::timed_out, "{}: no agent listens there ({})", path,
                        std::strerror(code));
    }
    std::array<char, 4096> events;
    while (::read(changes.get(), events.data(), events.size()) > 0) {
    }
  }
}

}  // namespace bench
