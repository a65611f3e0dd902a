#include "stackbench/unfinished.h"

#include <charconv>
#include <csignal>
#include <filesystem>
#include <set>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "reports/store.h"
#include "stackbench/plan.h"

namespace stackbench {
namespace {

namespace fs = std::filesystem;
using base::Result;
using base::UniqueFd;

// The lock, where no live run has it.
UniqueFd lock_if_dead(const fs::path& note) {
  UniqueFd fd(::open(note.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) < 0) fd.reset();
  return fd;
}

// Before the name of a note that is being made, and may not have its lock yet.
constexpr char being_made = '.';

// The process id a note's name begins with; 0, which is no process's, for any other name.
pid_t writer_of(const fs::path& note) {
  const auto name = note.filename().string();
  const std::size_t start = name.starts_with(being_made) ? 1 : 0;
  pid_t pid = 0;
  std::from_chars(name.data() + start, name.data() + name.size(), pid);
  return pid;
}

bool is_being_made(const fs::path& note) {
  return note.filename().string().starts_with(being_made) && ::kill(writer_of(note), 0) == 0;
}

Result<std::string> notes_directory() {
  ASSIGN_OR_RETURN(const auto state, state_directory());
  return state + "/unfinished";
}

}  // namespace

Result<UnfinishedReport> UnfinishedReport::note(const std::string& report_file) {
  ASSIGN_OR_RETURN(const auto directory, notes_directory());
  std::error_code problem;
  fs::create_directories(directory, problem);
  if (problem) return base::system_error(problem.value(), "make {}", directory);
  const auto name = fmt::format("{}-{}", ::getpid(), base::monotonic_now().ns);
  // Locked before it has its name: no `clean` sees it unlocked.
  std::string fresh = fmt::format("{}/{}{}", directory, being_made, name);
  UniqueFd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return base::system_error(errno, "{}", fresh);
  UnfinishedReport unfinished(std::move(fresh), std::move(fd));
  if (::flock(unfinished.lock_.get(), LOCK_EX | LOCK_NB) < 0) {
    return base::system_error(errno, "lock {}", unfinished.path_);
  }
  const auto text = fs::absolute(report_file, problem).string();
  if (::write(unfinished.lock_.get(), text.data(), text.size()) !=
      static_cast<ssize_t>(text.size())) {
    return base::system_error(errno, "{}", unfinished.path_);
  }
  const auto path = directory + "/" + name;
  if (::rename(unfinished.path_.c_str(), path.c_str()) < 0) {
    return base::system_error(errno, "{}", path);
  }
  unfinished.path_ = path;
  return unfinished;
}

UnfinishedReport::~UnfinishedReport() {
  if (lock_) ::unlink(path_.c_str());
}

Result<std::vector<std::string>> clean_unfinished_reports(bool dry_run) {
  std::vector<std::string> found;
  const auto directory = notes_directory();
  if (!directory) return found;  // where no note can be, none is
  std::error_code problem;
  std::vector<fs::path> notes;
  for (fs::directory_iterator entry(*directory, problem), end; !problem && entry != end;
       entry.increment(problem)) {
    if (!is_being_made(entry->path())) notes.push_back(entry->path());
  }
  if (problem && problem != std::errc::no_such_file_or_directory) {
    return base::system_error(problem.value(), "{}", *directory);
  }
  struct Dead {
    fs::path note;
    std::string report;
    UniqueFd lock;
  };
  std::vector<Dead> all_dead;
  std::set<std::string> written_now;
  for (const auto& note : notes) {
    auto lock = lock_if_dead(note);
    auto report = base::read_file(note.string());
    if (!report) continue;  // its run has just ended
    if (lock) {
      all_dead.push_back({note, std::move(*report), std::move(lock)});
    } else {
      written_now.insert(std::move(*report));
    }
  }
  for (const auto& [note, report, lock] : all_dead) {
    // Left alone until nobody writes there: a report's temporary files look alike.
    if (written_now.contains(report)) continue;
    for (const auto& file : reports::temporary_files(report, writer_of(note))) {
      found.push_back(fmt::format("unfinished part of a report: {}", file));
      if (!dry_run && ::unlink(file.c_str()) < 0 && errno != ENOENT) {
        return base::system_error(errno, "remove {}", file);
      }
    }
    if (dry_run) continue;
    reports::remove_empty_series_directory(report);
    if (::unlink(note.c_str()) < 0) return base::system_error(errno, "remove {}", note.string());
  }
  return found;
}

}  // namespace stackbench
