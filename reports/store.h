// Reports in files. Complete invocation results, too bulky for the report itself, go to a series
// file in <report>.d/ named by the hash of its content; the report names and counts it. Series
// files are written first and the report last, atomically: a reader never finds a report whose
// series is missing, and whatever fails, the old report stays with its series.
//
// The hash is SHA-256 by OpenSSL: anyone can check it with sha256sum, and what a verdict rests on
// cannot be altered unnoticed, which a faster hash would not give.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/result.h"
#include "reports/record.h"

struct evp_md_ctx_st;  // OpenSSL's EVP_MD_CTX

namespace reports {

// Whether a report written to `path` can have files beside it: not when it goes to a pipe or
// device.
[[nodiscard]] bool can_have_series(const std::string& path);

// Writes a series file row by row. Destroyed before finish(), it removes what it wrote. One thread.
class SeriesWriter {
 public:
  // Makes <report>.d where needed, and a temporary file in it. Errors: input (the report is no
  // file, see can_have_series), not_permitted, system.
  static base::Result<SeriesWriter> create(const std::string& report_path);

  // Adds one line. Errors: system; a full disk says so. After an error every later call returns it.
  base::Result<> append(const base::Json& row);
  [[nodiscard]] bool has_failed() const { return failed_.has_value(); }
  // Brings it to disk and gives it its name. Errors: as append().
  base::Result<SeriesFile> finish();
  // Removes what finish() made, where no report came to name it.
  void discard();

  SeriesWriter(SeriesWriter&&) noexcept = default;
  SeriesWriter& operator=(SeriesWriter&&) = delete;
  ~SeriesWriter();

 private:
  struct FreeHash {
    void operator()(evp_md_ctx_st* hash) const;
  };
  SeriesWriter() = default;
  base::Result<> flush();
  base::Result<> write_buffer();

  std::string directory_;
  std::string path_;      // of the temporary file; empty once it has its name
  std::string finished_;  // its path then
  std::optional<base::Error> failed_;
  base::UniqueFd fd_;
  std::unique_ptr<evp_md_ctx_st, FreeHash> hash_;
  std::string buffer_;
  std::uint64_t bytes_ = 0;
  std::uint64_t rows_ = 0;
};

// The report as its file holds it: a line a field, and within lists a line an element, so that a
// person can page through it and histograms stay short.
[[nodiscard]] std::string report_text(const Report& report);

// Writes the report (a directory on the way to it is made), then removes series files in <report>.d
// that it does not name: those of the report it replaced. Errors: not_permitted, system; a full
// disk says so. After an error the old report is untouched.
[[nodiscard]] base::Result<> save_report(const Report& report, const std::string& path);

// What a writer of this report that was killed left of its own: the temporary files of its series,
// by its process id, and of any writer of the report, as paths. A report's own look alike whoever
// writes, so the caller must know that nobody does.
[[nodiscard]] std::vector<std::string> temporary_files(const std::string& path, pid_t writer);
// Removes <report>.d where nothing is in it.
void remove_empty_series_directory(const std::string& path);

// Reads one back. Errors: missing, not_permitted, system; input (not JSON, not a report, written by
// a newer stackbench than this).
[[nodiscard]] base::Result<Report> load_report(const std::string& path);

}  // namespace reports
