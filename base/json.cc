#include "base/json.h"

namespace base {

Result<Json> parse_json(std::string_view text) {
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 3: ..." without its tag.
    std::string_view what = error.what();
    if (const auto tag_end = what.find("] "); tag_end != std::string_view::npos) {
      what.remove_prefix(tag_end + 2);
    }
    return fail(ErrorKind::input, "not JSON: {}", what);
  }
}

std::string dump_json(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string dump_json_pretty(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

namespace json_detail {

std::unexpected<Error> wrong_type(const std::string& path, std::string_view expected,
                                  const Json& got) {
  return fail(ErrorKind::input, "{}: expected {}, got {}", path.empty() ? "value" : path, expected,
              dump_json(got));
}

std::string join(const std::string& path, std::string_view name) {
  return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
}

Result<> check_bounds(double value, const FieldOptions& options, const std::string& path) {
  if (options.at_least && value < *options.at_least) {
    return fail(ErrorKind::input, "{}: expected at least {}, got {}", path, *options.at_least,
                value);
  }
  if (options.at_most && value > *options.at_most) {
    return fail(ErrorKind::input, "{}: expected at most {}, got {}", path, *options.at_most, value);
  }
  return {};
}

}  // namespace json_detail

}  // namespace base
