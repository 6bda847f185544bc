//! The middleware that signs requests.

use std::sync::Arc;

use async_trait::async_trait;
use surf::middleware::{Middleware, Next};
use surf::{Client, Request, Response};

use super::credentials::Credentials;
use crate::http::envelopes::Envelopes;
use crate::http::failure::Failure;
use crate::http::pool::Arriving;
use crate::http::transport::Exchange;

/// Signs requests that go to the client's own origin, and no others. Stands below the redirects, so that what it adds
/// to a URL shows nowhere.
pub(in crate::http) struct Sign {
    pub credentials: Arc<Credentials>,
    pub envelopes: Arc<Envelopes>,
}

#[async_trait]
impl Middleware for Sign {
    async fn handle(&self, mut request: Request, client: Client, next: Next<'_>) -> surf::Result<Response> {
        let exchange = Exchange::of(&request);
        let signed = exchange.token.clone().filter(|_| !exchange.strayed && self.credentials.belong_to(request.url()));
        let Some(token) = signed else { return next.run(request, client).await };
        if !self.credentials.scheme().answers_challenges() {
            self.credentials.sign(&mut request, &token).map_err(Failure::into_surf)?;
            return next.run(request, client).await;
        }
        let (unsigned, url) = (exchange.clone(), request.url().clone());
        self.credentials.sign(&mut request, &token).map_err(Failure::into_surf)?;
        let response = next.run(request, client.clone()).await?;
        let reply = Arriving::of(&response);
        if reply.status != 401 || !self.credentials.scheme().takes_challenge(&reply.headers) {
            return Ok(response);
        }
        self.envelopes.open(response).drain(&unsigned.deadline).await;
        let mut again = self.envelopes.request(unsigned, url);
        self.credentials.sign(&mut again, &token).map_err(Failure::into_surf)?;
        next.run(again, client).await
    }
}
