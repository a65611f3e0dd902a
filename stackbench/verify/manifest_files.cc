#include <algorithm>
#include <array>
#include <filesystem>
#include <set>
#include <string_view>
#include <system_error>

#include "base/file.h"
#include "stackbench/scenario/yaml.h"
#include "stackbench/verify/manifests.h"

namespace stackbench {
namespace {

using base::Result;

constexpr std::array<std::string_view, 3> extensions{".yaml", ".yml", ".json"};

}  // namespace

Result<std::vector<ManifestText>> read_manifests(const std::vector<std::string>& paths) {
  std::vector<ManifestText> texts;
  const auto add = [&](const std::string& path, const std::string& name) -> Result<> {
    ASSIGN_OR_RETURN(auto text, base::read_file(path, yaml_stream_size_limit));
    texts.push_back({.file = name, .text = std::move(text)});
    return {};
  };
  for (const auto& path : paths) {
    std::error_code code;
    if (path == "-") {
      RETURN_IF_ERROR(add("/dev/stdin", "standard input"));
      continue;
    }
    if (!std::filesystem::is_directory(path, code)) {
      RETURN_IF_ERROR(add(path, path));
      continue;
    }
    std::set<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(path, code)) {
      const auto extension = entry.path().extension().string();
      if (!entry.is_directory(code) &&
          std::ranges::find(extensions, extension) != extensions.end()) {
        files.insert(entry.path().string());
      }
    }
    if (code) return base::system_error(code.value(), "{}", path);
    if (files.empty()) {
      return base::fail(base::ErrorKind::input, "{}: there is no .yaml, .yml or .json file in it",
                        path);
    }
    for (const auto& file : files) RETURN_IF_ERROR(add(file, file));
  }
  return texts;
}

}  // namespace stackbench
