#include "probes/wire/canary_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "probes/wire/testing/conversation.h"

namespace probes {
namespace {

using testing::bytes_of;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Optional;

const std::vector<std::string> tokens{"0123456789abcdef0123456789abcdef",
                                      "fedcba9876543210fedcba9876543210"};

std::vector<std::pair<std::size_t, std::int64_t>> found_in(const std::vector<std::string>& pieces) {
  std::vector<std::pair<std::size_t, std::int64_t>> all;
  CanarySearch search(tokens);
  const auto note = [&](const Sighting& sighting) {
    all.emplace_back(sighting.token, sighting.number ? std::int64_t{*sighting.number} : -1);
  };
  for (const auto& piece : pieces) search.bytes(bytes_of(piece), note);
  search.cut(note);
  return all;
}

TEST(CanarySearch, FindsWhatIsThereAndItsNumber) {
  EXPECT_THAT(found_in({"POST " + tokens[0] + "0000002a" + " and " + tokens[1] + "ffffffff."}),
              ElementsAre(std::pair(0U, 42), std::pair(1U, 0xffffffffLL)));
  EXPECT_THAT(found_in({tokens[0].substr(0, 31) + "x", std::string(500, '0')}), IsEmpty());
}

TEST(CanarySearch, FindsItWhereverItIsCutExactlyOnce) {
  const auto text = "ab" + tokens[0] + "00000007" + "yz" + tokens[0] + "00000008";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    for (std::size_t second = cut; second <= text.size(); second += 5) {
      EXPECT_THAT(
          found_in({text.substr(0, cut), text.substr(cut, second - cut), text.substr(second)}),
          ElementsAre(std::pair(0U, 7), std::pair(0U, 8)))
          << cut << " " << second;
    }
  }
  std::vector<std::string> letters;
  for (const auto letter : text) letters.emplace_back(1, letter);
  EXPECT_THAT(found_in(letters), ElementsAre(std::pair(0U, 7), std::pair(0U, 8)));
}

TEST(CanarySearch, OneWithoutItsNumberIsFoundAtTheEnd) {
  EXPECT_THAT(found_in({"x" + tokens[1]}), ElementsAre(std::pair(1U, -1)));
  EXPECT_THAT(found_in({tokens[1] + "0000"}), ElementsAre(std::pair(1U, -1)));
  EXPECT_THAT(found_in({tokens[1] + "no digit"}), ElementsAre(std::pair(1U, -1)));
}

}  // namespace
}  // namespace probes
