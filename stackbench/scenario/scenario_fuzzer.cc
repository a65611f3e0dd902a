// Anything a file or a --set may hold, through the reader: nothing may crash, hang or eat the
// machine; what is refused is refused with words; and what is accepted is a scenario that survives
// being written and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "stackbench/scenario/reader.h"

// libfyaml 0.7.12 itself loses 2 KiB on some broken documents (a flow collection the input ends
// in); whatever we lose is still told.
extern "C" const char* __lsan_default_suppressions() { return "leak:libfyaml.so\n"; }

namespace {

constexpr std::size_t longest_message = std::size_t{64} << 10;

void must(bool holds) {
  if (!holds) std::abort();
}

// Leading comments of the form `#set PATH=VALUE` become overrides, so that corpus files stay YAML.
std::vector<std::string> overrides_of(std::string_view text) {
  constexpr std::string_view mark = "#set ";
  std::vector<std::string> overrides;
  while (text.starts_with(mark) && overrides.size() < 8) {
    const auto end = text.find('\n');
    overrides.emplace_back(text.substr(0, end).substr(mark.size()));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return overrides;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto scenario = stackbench::parse_scenario(text, "fuzz.yaml", overrides_of(text));
  if (!scenario) {
    must(scenario.error().kind == base::ErrorKind::input);
    must(!scenario.error().message.empty());
    must(scenario.error().message.size() < longest_message);
    // Nothing a terminal would act on comes through, whatever the file holds.
    must(scenario.error().message.find('\x1b') == std::string::npos);
    return 0;
  }
  const auto json = base::dump_json(base::to_json(*scenario));
  const auto again = stackbench::parse_scenario(json, "again", {});
  must(again.has_value());
  must(base::dump_json(base::to_json(*again)) == json);
  return 0;
}
