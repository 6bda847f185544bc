//! Functions of jaq's library that a native filter calls.

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Bind, Ctx, Error, Vars};

use super::answer::Answer;
use super::operation::Node;
use super::run::{Failure, Flow, Halt, Here, OneAnswer, Out, Run};
use crate::expr::language::{self, Context, Language};
use crate::expr::metered::Metered;

/// A function of values, compiled by jaq with its arguments as variables.
pub(super) struct Foreign {
    call: jaq_core::Filter<Language>,
    pub(super) many: bool,
}

impl Foreign {
    /// The function of this name that takes so many values, if there is one.
    pub(super) fn find(name: &str, arity: usize) -> Option<Self> {
        let takes_values = |arguments: &[Bind]| arguments.iter().all(|argument| matches!(argument, Bind::Var(())));
        language::functions()
            .find(|(known, arguments, _)| *known == name && arguments.len() == arity && takes_values(arguments))?;
        let arguments: Vec<String> = (0..arity).map(|index| format!("$argument{index}")).collect();
        let source = match &arguments[..] {
            [] => name.to_owned(),
            arguments => format!("{name}({})", arguments.join(";")),
        };
        let arena = Arena::default();
        let modules = Loader::new([]).load(&arena, File { code: &*source, path: () }).ok()?;
        let compiler = jaq_core::Compiler::<_, Language>::default()
            .with_funs(language::functions())
            .with_global_vars(arguments.iter().map(String::as_str));
        // All others answer with one value, or fail.
        Some(Self { call: compiler.compile(modules).ok()?, many: name == "range" })
    }
}

impl Run<'_> {
    pub(super) fn foreign<'v>(&self, function: &'v Foreign, arguments: &'v [Node], here: Here<'v>) -> OneAnswer<'v> {
        let mut answer = None;
        let flow = self.each_foreign(function, arguments, here, &mut |output| {
            answer = Some(output.detached());
            Ok(())
        });
        match flow {
            Err(Halt::Failed(failure)) => Err(failure),
            _ => Ok(answer),
        }
    }

    pub(super) fn each_foreign(
        &self,
        function: &Foreign,
        arguments: &[Node],
        here: Here<'_>,
        out: &mut Out<'_>,
    ) -> Flow {
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            match self.one(argument, here).map_err(Halt::Failed)? {
                Some(value) => values.push(value.into_metered()),
                None => return Ok(()),
            }
        }
        let context = Ctx::<Language>::new(Context::new(&function.call.lut, self.seen), Vars::new(values));
        for output in function.call.id.run((context, here.input.to_metered())) {
            let broken = |_| -> Failure { Error::<Metered>::str("break") };
            out(Answer::New(output.map_err(|failure| Halt::Failed(failure.get_err().unwrap_or_else(broken)))?))?;
        }
        Ok(())
    }
}
