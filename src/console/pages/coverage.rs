//! Coverage: which profile sends for each company and function, and the explanation of each cell.
//!
//! The rule is [`crate::model::resolution`]. Companies whose cells are all alike share a row; the table has at most [`ROWS`] rows
//! a page.

use std::{collections::BTreeMap, sync::Arc};

use askama::Template;
use axum::{extract::State, http::Method};
use serde::Deserialize;

use super::{list_pages::ListPages, message::StepRow};
use crate::{
    console::{
        answer::{Answer, render},
        extract::{Parameters, Segment},
        page::{Page, SignedIn, shown},
        parameters::address,
    },
    model::{
        Client, CompanyId, Function, ProfileName,
        access::{Activity, Area, Extent, Question},
        resolution::{Cell, Resolver},
    },
    service::{HttpProblem, Service},
};

/// Number of rows of a page.
const ROWS: usize = 50;
/// Maximum number of companies that a row names.
const NAMED: usize = 60;

/// The sender of a cell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sender<'a> {
    Profile(&'a ProfileName),
    /// None, as the settings of the environment say.
    Unserved,
    /// None.
    Missing,
    /// The caller may not see it.
    Hidden,
}

impl<'a> Sender<'a> {
    fn profile(self) -> Option<&'a ProfileName> {
        match self {
            Sender::Profile(name) => Some(name),
            Sender::Unserved | Sender::Missing | Sender::Hidden => None,
        }
    }
}

/// The senders of a company, by column.
type Senders<'a> = Vec<Sender<'a>>;

/// The page.
#[derive(Template)]
#[template(path = "coverage.html")]
struct CoveragePage {
    page: Page,
    filter: Filter,
    columns: Vec<Column>,
    rows: Vec<Row>,
    companies: usize,
    /// Number of companies that match.
    matching: usize,
    /// Number of cells that no profile sends for, among those that match.
    gaps: usize,
    pages: Option<ListPages>,
}

/// A column: a function, and a client where that matters.
#[derive(Clone, Copy)]
struct Column {
    function: Function,
    client: Option<Client>,
}

/// Companies whose cells are all alike.
struct Row {
    companies: Vec<CompanyId>,
    more: usize,
    cells: Vec<CellView>,
}

/// The sender of a cell.
struct CellView {
    profile: Option<String>,
    /// True if the profile does not claim the function itself, but one that the function falls back to.
    is_fallback: bool,
    /// True if no profile sends, as the settings of the environment say.
    is_unserved: bool,
    /// True if the caller may not see the sender.
    is_hidden: bool,
    address: String,
}

/// The parameters of the page.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Filter {
    company: String,
    profile: String,
    gaps: String,
    page: usize,
}

impl Filter {
    /// Returns the address of a page of the table.
    fn at(&self, number: usize) -> String {
        let number = number.to_string();
        let own = [("company", &self.company), ("profile", &self.profile), ("gaps", &self.gaps), ("page", &number)];
        address("/console/coverage", own.map(|(name, value)| (name, value.as_str())))
    }

    /// Returns true if the id of a company has one of the texts that are separated by blanks or commas.
    fn matches(&self, company: &CompanyId) -> bool {
        let mut wanted = self.company.split([' ', ',']).filter(|text| !text.is_empty()).peekable();
        wanted.peek().is_none() || wanted.any(|text| company.as_str().contains(&text.to_ascii_uppercase()))
    }
}

/// Returns the columns of the table.
fn columns() -> Vec<Column> {
    let user_interface = Function::user_interface();
    let mut columns = Vec::new();
    for function in Function::all() {
        if function == user_interface {
            columns.extend([Client::Native, Client::Spa].map(|client| Column { function, client: Some(client) }));
        } else {
            columns.push(Column { function, client: None });
        }
    }
    columns
}

/// Shows the table.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Parameters(filter): Parameters<Filter>,
) -> Answer {
    let state = service.state();
    let sees_all = caller.sees_all(Area::Profiles);
    let seen = state.settings.companies.iter().filter(|company| sees_all || caller.sees_company(company));
    let companies = seen.clone().count();
    let resolver = Resolver::new(state.live());
    let columns = columns();
    let (mut matching, mut gaps) = (0, 0);
    // The rows in the order of their first companies.
    let mut order: Vec<Senders<'_>> = Vec::new();
    let mut groups: BTreeMap<Senders<'_>, Vec<&CompanyId>> = BTreeMap::new();
    for company in seen.filter(|company| filter.matches(company)) {
        let sender = |column: &Column| {
            if !sees_all && !caller.sees_cell(company, column.function) {
                return Sender::Hidden;
            }
            let cell = Cell { company: company.clone(), function: column.function, client: column.client };
            match resolver.sender(&cell) {
                Some((name, _)) => Sender::Profile(name),
                None if state.settings.is_meant_unserved(company, column.function) => Sender::Unserved,
                None => Sender::Missing,
            }
        };
        let senders: Senders<'_> = columns.iter().map(sender).collect();
        let missing = senders.iter().filter(|sender| **sender == Sender::Missing).count();
        let served = senders.iter().filter_map(|sender| sender.profile());
        let is_complete = !senders.iter().any(|sender| matches!(sender, Sender::Unserved | Sender::Missing));
        let is_wanted = filter.profile.is_empty() || served.clone().any(|name| name.as_str() == filter.profile);
        if !is_wanted || (!filter.gaps.is_empty() && is_complete) {
            continue;
        }
        (matching, gaps) = (matching + 1, gaps + missing);
        let group = groups.entry(senders.clone()).or_default();
        if group.is_empty() {
            order.push(senders);
        }
        group.push(company);
    }
    let (order, pages) = ListPages::cut(order, ROWS, filter.page, |number| filter.at(number));
    let row = |senders: &Senders<'_>| {
        let companies = groups.get(senders)?;
        let first = companies.first()?;
        let cells = columns.iter().zip(senders).map(|(column, sender)| {
            let name = sender.profile();
            let profile = name.and_then(|name| state.profiles.get(name)?.live.as_ref());
            let claims = profile.is_some_and(|stored| stored.profile.functions.contains(&column.function));
            CellView {
                profile: name.map(ToString::to_string),
                is_fallback: name.is_some() && !claims,
                is_unserved: *sender == Sender::Unserved,
                is_hidden: *sender == Sender::Hidden,
                address: cell_address(first, *column),
            }
        });
        Some(Row {
            cells: cells.collect(),
            more: companies.len().saturating_sub(NAMED),
            companies: companies.iter().take(NAMED).map(|company| (*company).clone()).collect(),
        })
    };
    render(&CoveragePage {
        rows: order.iter().filter_map(row).collect(),
        companies,
        columns,
        matching,
        gaps,
        pages,
        filter,
        page,
    })
}

fn cell_address(company: &CompanyId, column: Column) -> String {
    let client = column.client.map(Client::id).unwrap_or_default();
    address(&format!("/console/coverage/{company}/{}", column.function.id()), [("client", client)])
}

/// The explanation of a cell.
#[derive(Template)]
#[template(path = "cell.html")]
struct CellPage {
    page: Page,
    company: CompanyId,
    function: Function,
    client: Option<&'static str>,
    profile: Option<String>,
    /// True if the caller may see that profile.
    is_linked: bool,
    from: Option<String>,
    steps: Vec<StepRow>,
}

/// The parameters of a cell.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct CellParameters {
    client: Option<Client>,
}

/// Explains a cell.
pub(in crate::console) async fn explain(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment((company, function)): Segment<(String, String)>,
    Parameters(CellParameters { client }): Parameters<CellParameters>,
) -> Answer {
    let missing = || {
        HttpProblem::not_found("the company or the function does not exist")
            .remedy("Choose a cell of the table of companies and functions.")
    };
    let company: CompanyId = company.parse().map_err(|_| missing())?;
    let function: Function = function.parse().map_err(|_| missing())?;
    let question = Question::any(Area::Profiles, Activity::See).at(Extent::One(&company), Extent::One(function));
    service.check_right(&caller, &question, &Method::GET, "/console/coverage").await?;
    let resolution = service.resolve(Cell { company, function, client })?;
    let state = service.state();
    let live = resolution.profile.as_ref().and_then(|name| state.profiles.get(name)?.live.as_ref());
    render(&CellPage {
        from: live.and_then(|stored| stored.profile.from_address().map(shown)),
        is_linked: resolution.profile.as_ref().is_some_and(|name| caller.sees_profile_named(name, &state)),
        profile: resolution.profile.as_ref().map(ToString::to_string),
        steps: resolution.steps.iter().map(StepRow::new).collect(),
        client: client.map(Client::id),
        company: resolution.cell.company,
        function,
        page,
    })
}
