// Reading described structs from YAML: what each kind of field accepts, and what is said of the
// rest.
#include "stackbench/scenario/read.h"

#include <gtest/gtest.h>

#include "stackbench/scenario/scenario.h"

namespace stackbench {
namespace {

struct Part {
  std::string name;
  std::optional<int> weight;
};

template <typename Visit, base::SelfOf<Part> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "What it is called.", .required = true});
  visit("weight", self.weight, {.doc = "How heavy.", .at_least = 1, .at_most = 9});
}

struct Whole {
  bool on = false;
  int integer = 7;
  std::uint8_t byte = 0;
  std::int64_t wide = 0;
  double number = 0;
  std::string text;
  base::AddressFamily family = base::AddressFamily::ipv4;
  base::Duration wait{};
  Part part;
  std::vector<Part> list;
  std::map<std::string, Part> map;
  base::Json anything;
};

template <typename Visit, base::SelfOf<Whole> Self>
void describe(Visit& visit, Self& self) {
  visit("on", self.on, {});
  visit("integer", self.integer, {});
  visit("byte", self.byte, {});
  visit("wide", self.wide, {});
  visit("number", self.number, {});
  visit("text", self.text, {});
  visit("family", self.family, {});
  visit("wait", self.wait, {});
  visit("part", self.part, {});
  visit("list", self.list, {});
  visit("map", self.map, {});
  visit("anything", self.anything, {});
}

struct Outcome {
  Whole value;
  ReadLog log;
};

Outcome read(std::string_view text) {
  Outcome outcome;
  const auto document = parse_yaml(text);
  EXPECT_TRUE(document.root && document.faults.empty()) << text;
  if (document.root) read_node(*document.root, "", {}, outcome.log, outcome.value);
  return outcome;
}

// Every fault, a line each: "line:column path: message".
std::string faults_of(std::string_view text) {
  const auto outcome = read(text);
  std::string lines;
  for (const auto& fault : outcome.log.faults()) {
    lines += fmt::format("{}{}:{} {}: {}", lines.empty() ? "" : "\n", fault.place.line,
                         fault.place.column, fault.path, fault.message);
  }
  return lines;
}

TEST(Read, TakesEveryKindOfField) {
  const auto outcome = read(R"(
on: true
integer: -12
byte: 255
wide: -9223372036854775808
number: 2.5e3
text: what does it cost?
family: ipv6
wait: 250ms
part: {name: "yes", weight: 9}
list: [{name: a}, {name: b, weight: 1}]
map: {x: {name: c}}
anything: {a: [1, 2.5, ~, true, "1", x]}
)");
  ASSERT_TRUE(outcome.log.faults().empty()) << outcome.log.faults().front().message;
  const auto& value = outcome.value;
  EXPECT_TRUE(value.on);
  EXPECT_EQ(value.integer, -12);
  EXPECT_EQ(value.byte, 255);
  EXPECT_EQ(value.wide, std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(value.number, 2500);
  EXPECT_EQ(value.text, "what does it cost?");
  EXPECT_EQ(value.family, base::AddressFamily::ipv6);
  EXPECT_EQ(value.wait, std::chrono::milliseconds(250));
  EXPECT_EQ(value.part.name, "yes");
  EXPECT_EQ(value.part.weight, 9);
  ASSERT_EQ(value.list.size(), 2u);
  EXPECT_EQ(value.list[0].weight, std::nullopt);
  EXPECT_EQ(value.list[1].name, "b");
  EXPECT_EQ(value.map.at("x").name, "c");
  EXPECT_EQ(base::dump_json(value.anything), R"({"a":[1,2.5,null,true,"1","x"]})");
}

TEST(Read, LeavesDefaultsWhereNothingIsSaid) { EXPECT_EQ(read("on: true").value.integer, 7); }

TEST(Read, RefusesIntegersThatOtherReadersReadOtherwise) {
  EXPECT_EQ(faults_of("integer: 010"),
            "1:10 integer: expected an integer, got 010: a leading zero means octal to some YAML "
            "readers; write 10");
  EXPECT_EQ(faults_of("integer: 0x10"),
            "1:10 integer: expected a decimal integer, got 0x10; write 16");
  EXPECT_EQ(faults_of("integer: -0o17"),
            "1:10 integer: expected a decimal integer, got -0o17; write -15");
  EXPECT_EQ(faults_of("integer: \"12\""),
            "1:10 integer: expected an integer, got the quoted text \"12\"");
  EXPECT_EQ(faults_of("integer: 1_000"), "1:10 integer: expected an integer, got \"1_000\"");
  EXPECT_EQ(faults_of("integer: +5"), "1:10 integer: expected an integer, got \"+5\"");
  EXPECT_EQ(faults_of("integer: 1.0"), "1:10 integer: expected an integer, got \"1.0\"");
  EXPECT_EQ(faults_of("integer: ~"), "1:10 integer: expected an integer, got nothing");
  EXPECT_EQ(faults_of("integer:"), "1:1 integer: expected an integer, got nothing");
}

TEST(Read, RefusesIntegersThatDoNotFit) {
  EXPECT_EQ(faults_of("byte: 256"), "1:7 byte: expected an integer between 0 and 255, got \"256\"");
  EXPECT_EQ(faults_of("byte: -1"), "1:7 byte: expected an integer between 0 and 255, got \"-1\"");
  EXPECT_EQ(faults_of("integer: 2147483648"),
            "1:10 integer: expected an integer between -2147483648 and 2147483647, got "
            "\"2147483648\"");
  EXPECT_EQ(faults_of("integer: -2147483648"), "");
  EXPECT_EQ(faults_of("wide: -9223372036854775809"),
            "1:7 wide: expected an integer between -9223372036854775808 and 9223372036854775807, "
            "got \"-9223372036854775809\"");
  EXPECT_EQ(faults_of("wide: 99999999999999999999"),
            "1:7 wide: expected an integer of at most 64 bits, got \"99999999999999999999\"");
}

TEST(Read, RefusesNumbersThatAreNone) {
  for (const auto* text : {".5", "inf", ".inf", "nan", "1e999", "0x1p3", "01.5", "\"1\"", "1,5"}) {
    EXPECT_TRUE(faults_of(fmt::format("number: {}", text))
                    .starts_with("1:9 number: expected a number, got "))
        << text;
  }
  EXPECT_EQ(faults_of("number: -0.5"), "");
}

TEST(Read, TakesOnlyTrueAndFalseForBooleans) {
  EXPECT_EQ(faults_of("on: yes"), "1:5 on: expected true or false, got \"yes\"");
  EXPECT_EQ(faults_of("on: True"), "1:5 on: expected true or false, got \"True\"");
  EXPECT_EQ(faults_of("on: \"true\""),
            "1:5 on: expected true or false, got the quoted text \"true\"");
  EXPECT_EQ(faults_of("on: 1"), "1:5 on: expected true or false, got \"1\"");
}

TEST(Read, WantsTextQuotedWhereItLooksLikeSomethingElse) {
  EXPECT_EQ(faults_of("text: yes"),
            "1:7 text: expected text, got yes, which some YAML readers do not take for text; quote "
            "it: \"yes\"");
  for (const auto* text :
       {"Off", "y", "null ", "12", "-1.5", "1e3", "0x1f", "0o7", ".inf", "1_000"}) {
    EXPECT_NE(faults_of(fmt::format("text: {}", text)), "") << text;
  }
  for (const auto* text : {"'yes'", "\"12\"", "yesterday", "0xyz", "1.2.3", "e", "v1", "."}) {
    EXPECT_EQ(faults_of(fmt::format("text: {}", text)), "") << text;
  }
  EXPECT_EQ(faults_of("text: ~"), "1:7 text: expected text, got nothing");
  EXPECT_EQ(faults_of("map: {on: {name: a}}"),
            "1:7 map.on: expected a name, got on, which some YAML readers do not take for text; "
            "quote it: \"on\"");
}

TEST(Read, ListsTheNamesOfAnEnumerationAndTheNearest) {
  EXPECT_EQ(faults_of("family: ipv5"),
            "1:9 family: expected one of ipv4, ipv6, got \"ipv5\"; did you mean \"ipv4\"?");
  EXPECT_EQ(faults_of("family: both"), "1:9 family: expected one of ipv4, ipv6, got \"both\"");
  EXPECT_EQ(faults_of("family: [ipv4]"), "1:9 family: expected one of ipv4, ipv6, got a list");
}

TEST(Read, SaysHowAUnitIsSpelt) {
  EXPECT_EQ(faults_of("wait: 30"),
            "1:7 wait: expected a duration such as 30s or 250ms, got \"30\"");
  EXPECT_EQ(faults_of("wait: {s: 30}"),
            "1:7 wait: expected a value such as 30s or 250ms, got a map");
}

TEST(Read, TellsMapsListsAndValuesApart) {
  EXPECT_EQ(faults_of("part: [a]"), "1:7 part: expected a map, got a list");
  EXPECT_EQ(faults_of("list: {a: 1}"), "1:7 list: expected a list, got a map");
  EXPECT_EQ(faults_of("map: x"), "1:6 map: expected a map, got \"x\"");
  EXPECT_EQ(faults_of("map:"), "1:1 map: expected a map, got nothing");
  EXPECT_EQ(faults_of("text: [a]"), "1:7 text: expected text, got a list");
  EXPECT_EQ(faults_of("[1]"), "1:1 : expected a map, got a list");
}

TEST(Read, HoldsOptionalNumbersToTheirBoundsToo) {
  EXPECT_EQ(faults_of("part: {name: a, weight: 10}"),
            "1:25 part.weight: expected at most 9, got 10. How heavy.");
  EXPECT_EQ(faults_of("part: {name: a, weight: 0}"),
            "1:25 part.weight: expected at least 1, got 0. How heavy.");
}

TEST(Read, FindsUnknownMissingAndDuplicateFieldsInOnePass) {
  EXPECT_EQ(faults_of("part: {weigth: 3}\n"
                      "list:\n"
                      "  - {name: a, colour: red, name: b}\n"
                      "integr: 3\n"
                      "map: {x: {name: a}, x: {name: b}}\n"),
            "1:7 part.name: missing: What it is called.\n"
            "1:8 part.weigth: unknown field; did you mean \"weight\"?\n"
            "3:28 list[0].name: given twice; the first is in line 3, column 6\n"
            "3:15 list[0].colour: unknown field; known here: name, weight\n"
            "5:21 map.x: given twice; the first is in line 5, column 7\n"
            "4:1 integr: unknown field; did you mean \"integer\"?");
}

TEST(ReadLog, RemembersPlacesAndFallsBackToWhatEncloses) {
  const auto log = read("list:\n  - {name: a, weight: 3}\n").log;
  EXPECT_EQ(log.place_of("list[0].weight"), (Place{.line = 2, .column = 23}));
  EXPECT_EQ(log.key_place_of("list[0].weight"), (Place{.line = 2, .column = 15}));
  EXPECT_EQ(log.place_of("list[0].colour"), (Place{.line = 2, .column = 5}));
  EXPECT_EQ(log.place_of("elsewhere"), Place{});
}

TEST(ReadLog, KnowsWhatAFaultTouches) {
  const auto log =
      read("part: {name: a, weight: x}\nlist: [{name: 1}]\nwiat: 3s\nmap: {list-x: {}}").log;
  EXPECT_TRUE(log.faulty("part.weight"));
  EXPECT_TRUE(log.faulty("part"));
  EXPECT_FALSE(log.faulty_itself("part"));
  EXPECT_FALSE(log.faulty("part.name"));
  EXPECT_TRUE(log.faulty("list[0].name.anything"));
  EXPECT_FALSE(log.faulty("lis"));
  EXPECT_TRUE(log.faulty("wait")) << "`wiat` was meant for it";
  EXPECT_TRUE(log.faulty(""));
}

}  // namespace
}  // namespace stackbench
