#include "cluster/processes/images.h"

#include <filesystem>
#include <map>

#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "cluster/processes/components.h"

namespace cluster::processes {
namespace {

using base::Result;
// By the archive's path: its size and time, which another state of it does not share.
using Record = std::map<std::string, std::string>;

std::string record_path(const Directory& directory) { return directory.path() + "/images.json"; }

Record read_record(const Directory& directory) {
  const auto text = base::read_file(record_path(directory));
  const auto json = text ? base::parse_json(*text) : base::Result<base::Json>(base::Json());
  // One that is not there or cannot be read: everything is taken in again.
  return json ? base::from_json<Record>(*json).value_or(Record()) : Record();
}

Result<std::string> state_of(const std::string& archive) {
  struct stat status{};
  if (::stat(archive.c_str(), &status) < 0) return base::system_error(errno, "{}", archive);
  return fmt::format("{} bytes of {}.{:09}", status.st_size, status.st_mtim.tv_sec,
                     status.st_mtim.tv_nsec);
}

}  // namespace

Result<std::vector<std::string>> import_images(const Directory& directory, const Tools& tools,
                                               const Shape& shape, const RunOnNode& run) {
  ASSIGN_OR_RETURN(const auto archives, image_archives(tools, shape));
  Record record = read_record(directory);
  std::vector<std::string> imported;
  for (const auto& archive : archives) {
    ASSIGN_OR_RETURN(const auto state, state_of(archive));
    auto& known = record[archive];
    if (known == state) continue;
    const auto name = std::filesystem::path(archive).stem().string();
    for (int node = 1; node <= shape.nodes; ++node) {
      if (auto done = run(node, import_command(tools, archive)); !done) {
        return base::in_context(std::move(done).error(), "image {}", name);
      }
    }
    known = state;
    imported.push_back(name);
  }
  if (imported.empty()) return imported;
  RETURN_IF_ERROR(base::write_file(record_path(directory),
                                   base::dump_json_pretty(base::to_json(record)) + "\n"));
  return imported;
}

}  // namespace cluster::processes
