#include "stackbench/scenario/read.h"

#include <algorithm>
#include <array>

namespace stackbench {
namespace {

// Longer lists of known names help nobody.
constexpr std::size_t named_at_most = 12;

std::string list_names(const std::vector<std::string_view>& names) {
  const auto shown = std::min(names.size(), named_at_most);
  auto text = fmt::format(
      "{}", fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "));
  if (names.size() > shown) text += fmt::format(" and {} more", names.size() - shown);
  return text;
}

// The path of what encloses `path`: "a.b[1]" for "a.b[1].c", "a.b" for "a.b[1]".
std::string enclosing(const std::string& path) {
  const auto cut = path.find_last_of(".[");
  return cut == std::string::npos ? std::string() : path.substr(0, cut);
}

}  // namespace

std::string join_path(const std::string& path, std::string_view name) {
  return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
}

std::string index_path(const std::string& path, std::size_t index) {
  return fmt::format("{}[{}]", path, index);
}

std::string suggest(std::string_view text, const std::vector<std::string_view>& known) {
  if (const auto near = base::nearest_name(text, known)) {
    return fmt::format("; did you mean \"{}\"?", *near);
  }
  return known.empty() ? std::string() : fmt::format("; known here: {}", list_names(known));
}

void ReadLog::fault(const Place& place, const std::string& path, std::string message) {
  faults_.push_back({place, path, std::move(message)});
  faulty_paths_.insert(path);
}

void ReadLog::stands(const std::string& path, const Place& key, const Place& value) {
  places_.insert_or_assign(path, Places{key, value});
}

Place ReadLog::place_of(const std::string& path) const {
  for (auto at = path; !at.empty(); at = enclosing(at)) {
    if (const auto found = places_.find(at); found != places_.end()) return found->second.value;
  }
  return {};
}

Place ReadLog::key_place_of(const std::string& path) const {
  const auto found = places_.find(path);
  return found != places_.end() ? found->second.key : place_of(path);
}

bool ReadLog::faulty_itself(const std::string& path) const {
  for (auto at = path; !at.empty(); at = enclosing(at)) {
    if (faulty_paths_.contains(at)) return true;
  }
  return false;
}

bool ReadLog::faulty(const std::string& path) const {
  if (faulty_itself(path)) return true;
  if (path.empty()) return !faulty_paths_.empty();
  return std::ranges::any_of(std::array{'.', '['}, [&](char separator) {
    const auto prefix = path + separator;
    const auto inside = faulty_paths_.lower_bound(prefix);
    return inside != faulty_paths_.end() && inside->starts_with(prefix);
  });
}

namespace read_detail {

void check_duplicates(const YamlNode& map, const std::string& path, ReadLog& log) {
  std::map<std::string_view, const YamlEntry*> seen;
  for (const auto& entry : map.entries) {
    const auto [first, inserted] = seen.emplace(entry.key, &entry);
    if (inserted) continue;
    const auto& before = first->second->key_place;
    log.fault(
        entry.key_place, join_path(path, entry.key),
        fmt::format("given twice; the first is in line {}, column {}", before.line, before.column));
  }
}

void check_unknown(const YamlNode& map, const std::string& path,
                   const std::vector<std::string_view>& known, ReadLog& log) {
  if (log.passes_over_unknown()) return;
  for (const auto& entry : map.entries) {
    if (std::ranges::find(known, entry.key) != known.end()) continue;
    log.fault(entry.key_place, join_path(path, entry.key),
              "unknown field" + suggest(entry.key, known));
    if (const auto near = base::nearest_name(entry.key, known)) log.doubt(join_path(path, *near));
  }
}

void check_bounds(double number, const YamlNode& node, const std::string& path,
                  const base::FieldOptions& options, ReadLog& log) {
  const bool low = options.at_least && number < *options.at_least;
  const bool high = options.at_most && number > *options.at_most;
  if (!low && !high) return;
  log.fault(node.place, path,
            fmt::format("expected at {} {}, got {}. {}", low ? "least" : "most",
                        low ? *options.at_least : *options.at_most, node.text, options.doc));
}

std::string unknown_word(std::string_view text, const std::vector<std::string_view>& known) {
  const auto near = base::nearest_name(text, known);
  return fmt::format("expected one of {}, got \"{}\"{}", fmt::join(known, ", "), text,
                     near ? fmt::format("; did you mean \"{}\"?", *near) : "");
}

}  // namespace read_detail

}  // namespace stackbench
