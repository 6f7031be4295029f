// The style sheet and the script of report.html.
#ifndef WYVERN_TRAINER_REPORT_PAGE_H_
#define WYVERN_TRAINER_REPORT_PAGE_H_

namespace wyvern {

extern const char kReportStyle[];
extern const char kReportScript[];

}  // namespace wyvern

#endif  // WYVERN_TRAINER_REPORT_PAGE_H_
