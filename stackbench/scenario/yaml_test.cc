#include "stackbench/scenario/yaml.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stackbench {
namespace {

using ::testing::HasSubstr;

// The tree in one line: every value with its place, quoted ones in quotes.
std::string outline(const YamlNode& node) {
  const auto place = fmt::format("@{}:{}", node.place.line, node.place.column);
  std::string inner;
  switch (node.kind) {
    case YamlNode::Kind::scalar:
      return node.plain ? node.text + place : fmt::format("\"{}\"{}", node.text, place);
    case YamlNode::Kind::list:
      for (const auto& item : node.items) inner += " " + outline(item);
      return fmt::format("[{}]{}", inner, place);
    case YamlNode::Kind::map:
      for (const auto& entry : node.entries) {
        inner += fmt::format(" {}@{}:{}={}", entry.key, entry.key_place.line,
                             entry.key_place.column, outline(entry.value));
      }
      return fmt::format("{{{}}}{}", inner, place);
  }
  return "?";
}

std::string outline_of(std::string_view text) {
  const auto document = parse_yaml(text);
  EXPECT_TRUE(document.faults.empty()) << document.faults.front().message;
  return document.root ? outline(*document.root) : "nothing";
}

std::string fault_of(std::string_view text) {
  const auto document = parse_yaml(text);
  if (document.faults.empty()) return "no fault";
  const auto& fault = document.faults.front();
  return fmt::format("{}:{}: {}", fault.place.line, fault.place.column, fault.message);
}

TEST(Yaml, KnowsThePlaceOfEveryKeyAndValue) {
  EXPECT_EQ(
      outline_of("a: 1\nb:\n  - {c: x, d: \"y z\"}\n  - [2, '3']\n"),
      "{ a@1:1=1@1:4 b@2:1=[ { c@3:6=x@3:9 d@3:12=\"y z\"@3:15}@3:5 [ 2@4:6 \"3\"@4:9]@4:5]@3:3}"
      "@1:1");
}

TEST(Yaml, CountsColumnsInCharacters) {
  EXPECT_EQ(outline_of("\xC3\xA9: \xE2\x82\xAC\n"), "{ \xC3\xA9@1:1=\xE2\x82\xAC@1:4}@1:1");
  EXPECT_EQ(outline_of("{\xC3\xA9: \xE2\x82\xAC, b: 1}"),
            "{ \xC3\xA9@1:2=\xE2\x82\xAC@1:5 b@1:8=1@1:11}@1:1");
}

TEST(Yaml, GivesAnEmptyValueThePlaceOfItsKey) {
  EXPECT_EQ(outline_of("a:\nb: 1\n"), "{ a@1:1=@1:1 b@2:1=1@2:4}@1:1");
}

TEST(Yaml, KeepsDuplicateKeysForTheReaderToFind) {
  EXPECT_EQ(outline_of("a: 1\na: 2\n"), "{ a@1:1=1@1:4 a@2:1=2@2:4}@1:1");
}

TEST(Yaml, ReadsJsonWithTheSamePlaces) {
  EXPECT_EQ(outline_of(R"({"a":[1,true],"b":"\u00e9\n"})"),
            "{ a@1:2=[ 1@1:7 true@1:9]@1:6 b@1:15=\"\xC3\xA9\n\"@1:19}@1:1");
}

TEST(Yaml, ReadsWindowsLineEnds) {
  EXPECT_EQ(outline_of("a: 1\r\nb:\r\n  c: 2\r\n"), "{ a@1:1=1@1:4 b@2:1={ c@3:3=2@3:6}@3:3}@1:1");
}

TEST(Yaml, OfNoDocumentHasNoRoot) {
  EXPECT_EQ(outline_of(""), "nothing");
  EXPECT_EQ(outline_of("# only a comment\n\n"), "nothing");
}

TEST(Yaml, CopiesAnAliasAndPlacesItWhereItIsUsed) {
  EXPECT_EQ(outline_of("a: &x [1]\nb: *x\n"), "{ a@1:1=[ 1@1:8]@1:7 b@2:1=[ 1@1:8]@2:5}@1:1");
}

TEST(Yaml, RefusesAnAliasToNothingOrToWhatHoldsIt) {
  EXPECT_EQ(fault_of("a: *x\n"), "1:5: the alias *x names no anchor above it");
  EXPECT_EQ(fault_of("a: &x [*x]\n"), "1:9: the alias *x names no anchor above it");
}

TEST(Yaml, RefusesABillionLaughs) {
  std::string text = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n";
  for (int i = 1; i < 10; ++i) {
    text += fmt::format("a{}: &a{} [", i, i);
    for (int k = 0; k < 10; ++k) text += fmt::format("{}*a{}", k > 0 ? ", " : "", i - 1);
    text += "]\n";
  }
  EXPECT_THAT(fault_of(text), HasSubstr("aliases that stand for too much"));
}

TEST(Yaml, RefusesOneLongTextUsedManyTimes) {
  std::string text = "a: &a " + std::string(100'000, 'x') + "\nb: [";
  for (int i = 0; i < 5'000; ++i) text += "*a,";
  EXPECT_THAT(fault_of(text + "]\n"), HasSubstr("aliases that stand for too much"));
}

TEST(Yaml, RefusesDepthBreadthAndSizeBeyondReason) {
  EXPECT_THAT(fault_of(std::string(40, '[') + std::string(40, ']')),
              HasSubstr("nested too deeply"));
  EXPECT_EQ(fault_of(std::string(32, '[') + "1" + std::string(32, ']')), "no fault");
  std::string wide = "[";
  for (int i = 0; i < 20'000; ++i) wide += "1,";
  EXPECT_THAT(fault_of(wide + "]"), HasSubstr("too many values: more than 20000"));
  EXPECT_EQ(fault_of(std::string(yaml_size_limit + 1, ' ')),
            "1:1: too large: 262145 bytes, expected at most 262144");
}

TEST(Yaml, SaysWhereATextIsNotYaml) {
  EXPECT_EQ(fault_of("a: {b: 1\nc: 2\n"), "2:2: not YAML: missing comma in flow mapping");
  EXPECT_EQ(fault_of("a: b: c\n"), "1:5: not YAML: invalid nested block mapping on the same line");
  EXPECT_EQ(fault_of("\ta: b\n"), "1:1: not YAML: invalid tab as indendation in a mapping");
}

TEST(Yaml, RefusesDirectivesItWouldHaveToIgnore) {
  EXPECT_EQ(fault_of("%a: 1\n---\nb: 1\n"), "1:2: not YAML: Unsupported directive");
  EXPECT_EQ(fault_of("%YAML 1.2\n---\nb: 1\n"), "no fault");
}

TEST(Yaml, NeverDropsWhatFollowsAnUnreadableByte) {
  using namespace std::string_view_literals;
  EXPECT_EQ(fault_of("a: 1\nb: \xff\nc: 3\n"), "2:4: the byte 0xff is not UTF-8");
  EXPECT_EQ(fault_of("a: 1\nb: \xED\xA0\x80\nc: 3\n"), "2:4: the byte 0xed is not UTF-8");
  EXPECT_EQ(fault_of("a: \0b\n"sv), "1:4: the control character 0x00 is not allowed");
  EXPECT_EQ(fault_of("a: \x1b[2J\n"), "1:4: the control character 0x1b is not allowed");
}

TEST(Yaml, KeepsOrRefusesEveryCharacterAndWhatFollowsIt) {
  const auto check = [](std::string_view character) {
    const auto text = fmt::format("a: x{}y\nb: 1\n", character);
    const auto document = parse_yaml(text);
    if (!document.faults.empty()) return;
    ASSERT_TRUE(document.root && document.root->entries.size() == 2);
    EXPECT_EQ(document.root->entries[0].value.text, fmt::format("x{}y", character));
  };
  for (int second = 0x80; second < 0xC0; ++second) {
    check({std::string{'\xC2', static_cast<char>(second)}});          // U+0080 to U+00BF
    check({std::string{'\xE2', '\x80', static_cast<char>(second)}});  // with line separators
    check({std::string{'\xEF', '\xBF', static_cast<char>(second)}});  // up to U+FFFF
  }
  for (const auto* special :
       {"\xEF\xBB\xBF", "\xED\x9F\xBF", "\xEE\x80\x80", "\xF4\x8F\xBF\xBF", "\t"}) {
    check(special);
  }
}

TEST(Yaml, RefusesTagsOddKeysAndSecondDocuments) {
  EXPECT_EQ(fault_of("a: !!str 12\n"),
            "1:10: tags such as !!str have no place here; quote text that looks like a number");
  EXPECT_EQ(fault_of("[a, b]: 1\n"), "1:1: a key must be a plain name, not a map or a list");
  EXPECT_EQ(fault_of(std::string(200, 'k') + ": 1\n"), "1:1: a name of more than 128 bytes");
  EXPECT_EQ(fault_of("a: 1\n---\nb: 2\n"), "2:1: a second document begins here; expected one only");
}

TEST(Yaml, PrintsNothingWhateverItIsFed) {
  ::testing::internal::CaptureStderr();
  ::testing::internal::CaptureStdout();
  for (const auto* text :
       {"a: {", "%FOO bar\n---\na: 1\n", "%YAML 9.9\n---\na: 1\n", "\t- x: [", "a: *", "a: &",
        "- - - :\n -", "\"", "'", "a: |9x\n", "? ? ?", "!<", "}", "@", "`"}) {
    static_cast<void>(parse_yaml(text));
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
}

}  // namespace
}  // namespace stackbench
