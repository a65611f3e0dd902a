// What a run that was killed leaves beside its report, and how `clean` finds it: while a run lasts,
// a note in the state directory says where it writes. The note is locked by its run, so that a dead
// run's can be told from a live one's.
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace stackbench {

// One run's note; it goes with this object.
class UnfinishedReport {
 public:
  // Errors: missing (no state directory), not_permitted, system.
  static base::Result<UnfinishedReport> note(const std::string& report_file);

  UnfinishedReport(UnfinishedReport&&) noexcept = default;
  UnfinishedReport& operator=(UnfinishedReport&&) = delete;
  UnfinishedReport(const UnfinishedReport&) = delete;
  UnfinishedReport& operator=(const UnfinishedReport&) = delete;
  ~UnfinishedReport();

 private:
  UnfinishedReport(std::string path, base::UniqueFd lock)
      : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  base::UniqueFd lock_;  // flock(2) on the note; empty once moved from
};

// Removes the temporary files of runs that are gone, and their notes, unless `dry_run`. Returns
// what was found, a sentence each; a note that had nothing to tell is removed without a word. Files
// under their final names stay: they are whole. Errors: not_permitted, system.
[[nodiscard]] base::Result<std::vector<std::string>> clean_unfinished_reports(bool dry_run);

}  // namespace stackbench
