#include "reports/table.h"

#include <gtest/gtest.h>

namespace reports {
namespace {

std::vector<Column> columns() {
  return {
      {.title = "arm", .align = Align::left, .cells = {{"direct"}, {"iptables_cluster_ip"}}},
      {.title = "p50", .importance = 9, .cells = {{"12.3 \xc2\xb5s"}, {"1.20 ms"}}},
      {.title = "p99", .importance = 1, .cells = {{"99.9 \xc2\xb5s"}, {"4.00 ms"}}},
      {.title = "rate", .importance = 5, .cells = {{"45.1 k/s"}, {"1.00 k/s"}}},
      {.title = "empty", .importance = 8, .cells = {{""}, {""}}},
  };
}

TEST(Table, AlignsByColumnsAndLeavesEmptyOnesOut) {
  EXPECT_EQ(render_table(columns(), 80, false),
            "arm                      p50      p99      rate\n"
            "direct               12.3 \xc2\xb5s  99.9 \xc2\xb5s  45.1 k/s\n"
            "iptables_cluster_ip  1.20 ms  4.00 ms  1.00 k/s\n");
}

TEST(Table, DropsTheLeastImportantColumnFirst) {
  EXPECT_EQ(render_table(columns(), 46, false),
            "arm                      p50      rate\n"
            "direct               12.3 \xc2\xb5s  45.1 k/s\n"
            "iptables_cluster_ip  1.20 ms  1.00 k/s\n");
}

TEST(Table, ShortensTheFirstColumnLast) {
  EXPECT_EQ(render_table(columns(), 20, false),
            "arm              p50\n"
            "direct       12.3 \xc2\xb5s\n"
            "iptables_..  1.20 ms\n");
}

TEST(Table, PaintsTextAndNotItsPadding) {
  EXPECT_EQ(render_table({{.title = "v", .cells = {{"pass", base::Paint::green}}}}, 80, true),
            "   \x1b[2mv\x1b[0m\n\x1b[32mpass\x1b[0m\n");
}

TEST(Table, WithoutAnyTextThereIsNone) {
  EXPECT_EQ(render_table({{.title = "v", .cells = {{""}}}}, 80, false), "");
}

}  // namespace
}  // namespace reports
