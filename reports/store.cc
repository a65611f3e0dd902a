#include "reports/store.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <system_error>

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

namespace reports {
namespace {

using base::Error;
using base::ErrorKind;
using base::Result;

constexpr std::size_t write_size = 1u << 20;
constexpr std::size_t largest_report = std::size_t{1} << 30;
constexpr std::string_view series_suffix = ".ndjson";
constexpr std::string_view series_prefix = ".series.";  // of a temporary file

std::string series_directory(const std::string& report_path) { return report_path + ".d"; }

bool is_full(const Error& error) {
  return error.code == ENOSPC || error.code == EDQUOT || error.code == EFBIG;
}

// A full disk is the reader's to mend, so it is said how.
std::unexpected<Error> write_error(Error error) {
  if (is_full(error)) {
    error.mend =
        "Nothing was changed: an earlier report of that name is as it was. Make room, or "
        "write elsewhere with --out.";
  }
  return std::unexpected(std::move(error));
}

// The same in the middle of a run, whose report may still be saved.
std::unexpected<Error> disk_error(int code, const std::string& path) {
  auto error = base::system_error(code, "{}", path);
  if (is_full(error.error())) {
    error.error().mend = "Make room, or write elsewhere with --out.";
  }
  return error;
}

std::unexpected<Error> write_error(int code, const std::string& path) {
  return write_error(base::system_error(code, "{}", path).error());
}

Result<> make_directories(const std::string& path) {
  std::error_code problem;
  std::filesystem::create_directories(path, problem);
  if (problem) return write_error(problem.value(), path);
  return {};
}

// "<64 hexadecimal digits>.ndjson": nothing else in <report>.d is ours to remove.
bool is_series_name(const std::string& name) {
  constexpr std::size_t digits = 64;
  return name.size() == digits + series_suffix.size() && name.ends_with(series_suffix) &&
         name.find_first_not_of("0123456789abcdef") == digits;
}

// Best effort: a leftover costs room, not truth.
void remove_other_series(const Report& report, const std::string& directory) {
  std::error_code problem;
  std::vector<std::filesystem::path> others;
  for (std::filesystem::directory_iterator entry(directory, problem), end; !problem && entry != end;
       entry.increment(problem)) {
    const auto name = entry->path().filename().string();
    const bool named =
        std::ranges::find(report.series, name, &SeriesFile::name) != report.series.end();
    if (is_series_name(name) && !named) others.push_back(entry->path());
  }
  for (const auto& path : others) std::filesystem::remove(path, problem);
  std::filesystem::remove(directory, problem);  // succeeds only on an empty one
}

}  // namespace

bool can_have_series(const std::string& path) {
  std::error_code problem;
  const auto status = std::filesystem::status(path, problem);
  return !std::filesystem::exists(status) || std::filesystem::is_regular_file(status);
}

void SeriesWriter::FreeHash::operator()(evp_md_ctx_st* hash) const { ::EVP_MD_CTX_free(hash); }

Result<SeriesWriter> SeriesWriter::create(const std::string& report_path) {
  if (!can_have_series(report_path)) {
    return base::fail(ErrorKind::input, "{}: not a file, so nothing can be written beside it",
                      report_path);
  }
  SeriesWriter writer;
  writer.directory_ = series_directory(report_path);
  RETURN_IF_ERROR(make_directories(writer.directory_));
  std::string path = fmt::format("{}/{}{}.{}", writer.directory_, series_prefix, ::getpid(),
                                 base::monotonic_now().ns);
  writer.fd_.reset(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!writer.fd_) return write_error(errno, writer.directory_);
  writer.path_ = std::move(path);
  writer.hash_.reset(::EVP_MD_CTX_new());
  if (!writer.hash_ || ::EVP_DigestInit_ex(writer.hash_.get(), ::EVP_sha256(), nullptr) != 1) {
    return base::fail(ErrorKind::system, "OpenSSL offers no SHA-256");
  }
  return writer;
}

SeriesWriter::~SeriesWriter() {
  if (path_.empty()) return;
  ::unlink(path_.c_str());
  ::rmdir(directory_.c_str());  // succeeds only where it is empty
}

void SeriesWriter::discard() {
  if (finished_.empty()) return;
  ::unlink(finished_.c_str());
  ::rmdir(directory_.c_str());  // succeeds only where it is empty
}

Result<> SeriesWriter::flush() {
  // A part may have been written and hashed already: nothing sound can follow it.
  if (failed_) return std::unexpected(*failed_);
  if (auto written = write_buffer(); !written) {
    failed_ = written.error();
    return written;
  }
  return {};
}

Result<> SeriesWriter::write_buffer() {
  if (::EVP_DigestUpdate(hash_.get(), buffer_.data(), buffer_.size()) != 1) {
    return base::fail(ErrorKind::system, "{}: SHA-256 failed", path_);
  }
  std::string_view left = buffer_;
  while (!left.empty()) {
    const ssize_t count = ::write(fd_.get(), left.data(), left.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return disk_error(errno, path_);
    left.remove_prefix(static_cast<std::size_t>(count));
  }
  bytes_ += buffer_.size();
  buffer_.clear();
  return {};
}

Result<> SeriesWriter::append(const base::Json& row) {
  buffer_ += base::dump_json(row);
  buffer_ += '\n';
  ++rows_;
  if (buffer_.size() < write_size) return {};
  return flush();
}

Result<SeriesFile> SeriesWriter::finish() {
  RETURN_IF_ERROR(flush());
  if (::fsync(fd_.get()) < 0) return disk_error(errno, path_);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  if (::EVP_DigestFinal_ex(hash_.get(), digest.data(), &length) != 1) {
    return base::fail(ErrorKind::system, "{}: SHA-256 failed", path_);
  }
  SeriesFile file{.name = {}, .sha256 = {}, .bytes = bytes_, .rows = rows_};
  for (unsigned int i = 0; i < length; ++i) file.sha256 += fmt::format("{:02x}", digest[i]);
  file.name = file.sha256 + std::string(series_suffix);
  const std::string path = directory_ + "/" + file.name;
  if (::rename(path_.c_str(), path.c_str()) < 0) return disk_error(errno, path);
  path_.clear();
  finished_ = path;
  return file;
}

std::string report_text(const Report& report) {
  const base::Json json = base::to_json(report);
  std::string text = "{";
  std::string_view before = "\n";
  for (const auto& [key, value] : json.items()) {
    text += fmt::format("{}{}: ", before, base::dump_json(key));
    before = ",\n";
    if (!value.is_array() || value.empty()) {
      text += base::dump_json(value);
      continue;
    }
    std::string_view before_element = "[\n  ";
    for (const auto& element : value) {
      text += before_element;
      text += base::dump_json(element);
      before_element = ",\n  ";
    }
    text += "\n]";
  }
  return text + "\n}\n";
}

Result<> save_report(const Report& report, const std::string& path) {
  const auto directory = std::filesystem::path(path).parent_path().string();
  if (!directory.empty()) RETURN_IF_ERROR(make_directories(directory));
  if (auto written = base::write_file(path, report_text(report)); !written) {
    return write_error(std::move(written).error());
  }
  if (can_have_series(path)) remove_other_series(report, series_directory(path));
  return {};
}

std::vector<std::string> temporary_files(const std::string& path, pid_t writer) {
  std::vector<std::string> found;
  const auto collect = [&](const std::filesystem::path& directory, const std::string& prefix,
                           std::optional<std::size_t> length) {
    std::error_code problem;
    for (std::filesystem::directory_iterator entry(directory, problem), end;
         !problem && entry != end; entry.increment(problem)) {
      const auto name = entry->path().filename().string();
      if (name.starts_with(prefix) && (!length || name.size() == *length)) {
        found.push_back(entry->path().string());
      }
    }
  };
  collect(series_directory(path), fmt::format("{}{}.", series_prefix, writer), {});
  const std::filesystem::path report(path);
  const auto prefix = base::temporary_prefix(report.filename().string());
  collect(report.has_parent_path() ? report.parent_path() : ".", prefix,
          prefix.size() + base::temporary_suffix_length);
  std::ranges::sort(found);
  return found;
}

void remove_empty_series_directory(const std::string& path) {
  ::rmdir(series_directory(path).c_str());
}

Result<Report> load_report(const std::string& path) {
  ASSIGN_OR_RETURN(const auto text, base::read_file(path, largest_report));
  auto json = base::parse_json(text);
  if (!json) {
    auto error = std::move(json).error();
    error.mend = "Name a report, the .json file that stackbench run wrote.";
    return base::in_context(std::move(error), "{}", path);
  }
  const auto version = json->is_object() ? json->find("schema_version") : json->end();
  if (version == json->end() || !version->is_number_integer()) {
    return base::fail(ErrorKind::input, "{}: not a stackbench report: it has no schema_version",
                      path);
  }
  const auto found = base::from_json<std::int64_t>(*version, "schema_version");
  if (!found || *found < 1 || *found > schema_version) {
    return base::fail_with_mend(
        ErrorKind::input,
        fmt::format("{}: schema_version {}, this stackbench ({}) reads 1 to {}", path,
                    base::dump_json(*version), STACKBENCH_VERSION, schema_version),
        "Use the stackbench that wrote it, or a newer one.");
  }
  auto report = base::from_json<Report>(*json);
  if (!report) return base::in_context(std::move(report).error(), "{}", path);
  return report;
}

}  // namespace reports
